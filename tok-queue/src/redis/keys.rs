//! What the keys are called.

use tok_core::Uid;

/// Users are spread over so many hash tags. It is part of where data lies and must not change.
pub(super) const SHARDS: u64 = 64;

/// The keys that one user's operations touch, all under one hash tag: a cluster keeps them on one node.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Keys {
    /// A list: the entries.
    pub(super) list: String,
    /// A hash: `seq` last given, `bytes` kept, `fence`.
    pub(super) meta: String,
    /// A sorted set: the entries that expire, of all users with this tag.
    pub(super) due: String,
    /// The user's part of the names.
    pub(super) user: String,
}

impl Keys {
    pub(super) fn of(prefix: &str, uid: &Uid) -> Self {
        Self::in_shard(prefix, shard(uid), uid.to_token())
    }

    pub(super) fn in_shard(prefix: &str, shard: u64, user: String) -> Self {
        Self {
            list: format!("{prefix}:{{{shard}}}:list:{user}"),
            meta: format!("{prefix}:{{{shard}}}:meta:{user}"),
            due: due(prefix, shard),
            user,
        }
    }
}

pub(super) fn due(prefix: &str, shard: u64) -> String {
    format!("{prefix}:{{{shard}}}:due")
}

/// FNV-1a, which is the same in every build and on every node.
fn shard(uid: &Uid) -> u64 {
    let hash = uid.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    // Folded: the bits mix unevenly.
    (hash ^ hash >> 32) % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_change() {
        // Servers hold them.
        let keys = Keys::of("tok", &Uid::from("a.b"));
        assert_eq!(keys.user, "a_2eb");
        assert_eq!(keys.list, "tok:{53}:list:a_2eb");
        assert_eq!(keys.meta, "tok:{53}:meta:a_2eb");
        assert_eq!(keys.due, "tok:{53}:due");
    }

    #[test]
    fn users_are_spread() {
        let mut users = [0; SHARDS as usize];
        for user in 0..64_000_u32 {
            users[shard(&Uid::from(user)) as usize] += 1;
        }
        assert!(users.iter().all(|users| (500..2000).contains(users)), "{users:?}");
    }
}
