//! Keys are in the agent's memory, so its memory is nobody's: no core file, no debugger of the same user.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// From now on a crash writes no core file, neither beside the program nor through a handler of the system's.
///
/// Where the system doesn't allow it to be said, nothing is different than before: that keeps no agent from starting.
pub fn keep_out_of_cores() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = setrlimit(Resource::Core, none);
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}
