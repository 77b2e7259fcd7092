pub(crate) mod agreement;
pub(crate) mod closing;
pub(crate) mod control;
pub(crate) mod limits;
pub(crate) mod messages;
pub(crate) mod violations;

mod support;
