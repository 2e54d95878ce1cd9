//! What a running agent takes of the host's memory, from `/proc/PID/status` (proc_pid_status(5)).

use std::fs;

/// The most memory that an agent may have, whatever it has to do: 64 MB, of which the pages of the released program's
/// file are 15. This build isn't optimised and its file is several times as large, so its pages don't count here.
pub const OWN_KIB_MAX: u64 = (64_000_000 - 15_000_000) / 1024;

/// The most that process `pid` has had so far, but for what is mapped of files.
pub fn own_kib_peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let kib = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next());
        number
            .and_then(|number| number.parse().ok())
            .expect("the kernel says so")
    };
    kib("VmHWM:") - kib("RssFile:")
}
