use std::{fmt, sync::Arc};

use super::{SimRuntime, wait::Flag};
use crate::{Hub, sync::Mutex};

/// The hubs of a simulated service: one, or one a node. They can be replaced while traffic goes on, as when a node is
/// restarted. Clones are the same hubs.
#[derive(Clone)]
pub struct Nodes {
    nodes: Arc<[Mutex<Node>]>,
}

#[derive(Default)]
struct Node {
    up: Option<Up>,
}

/// One run of one node.
#[derive(Clone)]
pub(super) struct Up {
    pub(super) hub: Hub,
    pub(super) process: SimRuntime,
    pub(super) gone: Arc<Flag>,
}

impl Nodes {
    /// So many nodes, none of which is up.
    #[must_use]
    pub fn new(nodes: usize) -> Self {
        Self { nodes: (0..nodes).map(|_| Mutex::default()).collect() }
    }

    /// How many nodes there are, up or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// A node's hub is this from now on, whose tasks run in `process`. The one before it is gone for all who used it.
    pub fn start(&self, node: usize, hub: Hub, process: SimRuntime) {
        self.replace(node, Some(Up { hub, process, gone: Arc::default() }));
    }

    /// A node has no hub until it is started again. Returns the one it had.
    pub fn stop(&self, node: usize) -> Option<Hub> {
        self.replace(node, None)
    }

    /// The node crashes: its process is killed.
    pub fn crash(&self, node: usize) {
        let process = self.up(node).map(|up| up.process);
        self.replace(node, None);
        if let Some(process) = process {
            process.kill();
        }
    }

    /// The node's hub, if it is up.
    #[must_use]
    pub fn hub(&self, node: usize) -> Option<Hub> {
        self.up(node).map(|up| up.hub)
    }

    pub(super) fn up(&self, node: usize) -> Option<Up> {
        self.nodes.get(node).and_then(|node| node.lock().up.clone())
    }

    /// A node that is up, of the seed's choice.
    pub(super) fn any(&self, rt: &SimRuntime) -> Option<Up> {
        let up: Vec<Up> = (0..self.len()).filter_map(|node| self.up(node)).collect();
        up.get(usize::try_from(rt.below(up.len() as u64)).unwrap_or_default()).cloned()
    }

    fn replace(&self, node: usize, up: Option<Up>) -> Option<Hub> {
        let node = self.nodes.get(node)?;
        let before = std::mem::replace(&mut node.lock().up, up)?;
        before.gone.set();
        Some(before.hub)
    }
}

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nodes").field("nodes", &self.len()).finish_non_exhaustive()
    }
}
