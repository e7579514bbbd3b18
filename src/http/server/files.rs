//! Open files: every connection is one.

/// Files beside connections: the store, destinations, sockets of rooms, the graphics driver.
const OTHERS: u64 = 1_024;

/// Lets this process open as many files as `connections` and everything else need, as far as the system's hard limit goes.
/// What is open to connections; less than asked for when the hard limit is too low.
pub fn enough_files(connections: usize) -> usize {
    let wanted = connections as u64 + OTHERS;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: it writes into `limit`, which lives.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return connections;
    }
    if limit.rlim_cur < wanted {
        let raised = libc::rlimit { rlim_cur: wanted.min(limit.rlim_max), ..limit };
        // SAFETY: it reads `raised`, which lives.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) } == 0 {
            limit = raised;
        }
    }
    connections.min(usize::try_from(left(limit.rlim_cur)).unwrap_or(usize::MAX))
}

/// How many of this many files are for connections: at least half.
fn left(files: u64) -> u64 {
    files.saturating_sub(OTHERS).max(files / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_as_many_as_files_allow() {
        assert_eq!(enough_files(16), 16);
        assert_eq!((left(1_024), left(6_144)), (512, 5_120));
    }
}
