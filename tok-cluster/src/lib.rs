//! Joins the hubs of several nodes into one.
