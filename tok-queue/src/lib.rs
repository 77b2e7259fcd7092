//! Queues that keep tok's messages for users who are away.
