//! See the library's documentation for the map.

fn main() -> std::process::ExitCode {
    kinesis_agent::cli::main()
}
