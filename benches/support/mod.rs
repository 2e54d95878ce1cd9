//! What the benchmarks share: the median of a few runs, in wall time and in CPU time.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Runs that a median is taken of, after one that isn't counted.
const N_RUNS: usize = 7;

/// What one run over some input cost.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    pub input_bytes: usize,
    pub wall: Duration,
    /// Of the whole process, all threads together.
    pub cpu: Duration,
}

impl Cost {
    /// Megabytes (10⁶) of input per second of wall time.
    pub fn mb_per_s(&self) -> f64 {
        self.mb() / self.wall.as_secs_f64()
    }

    /// Milliseconds of CPU time per megabyte (10⁶) of input.
    pub fn cpu_ms_per_mb(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e3 / self.mb()
    }

    fn mb(&self) -> f64 {
        self.input_bytes as f64 / 1e6
    }
}

/// Runs `work`, which reads `input_bytes` each time, and prints a line with the medians.
pub fn report(name: &str, input_bytes: usize, work: impl FnMut()) -> Cost {
    let cost = median_cost(input_bytes, work);
    println!(
        "{name:<44} {:>9.1} MB/s {:>9.3} CPU-ms/MB",
        cost.mb_per_s(),
        cost.cpu_ms_per_mb()
    );
    cost
}

/// The medians of wall and CPU time, each for itself, of a few runs of `work`.
pub fn median_cost(input_bytes: usize, mut work: impl FnMut()) -> Cost {
    work();
    let mut walls = [Duration::ZERO; N_RUNS];
    let mut cpus = [Duration::ZERO; N_RUNS];
    for (wall, cpu) in walls.iter_mut().zip(&mut cpus) {
        let started = Instant::now();
        let cpu_before = cpu_time();
        work();
        *cpu = cpu_time().saturating_sub(cpu_before);
        *wall = started.elapsed();
    }
    walls.sort_unstable();
    cpus.sort_unstable();
    Cost {
        input_bytes,
        wall: walls[N_RUNS / 2],
        cpu: cpus[N_RUNS / 2],
    }
}

/// CPU time of this process so far.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}
