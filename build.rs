//! Links `src/allocator.c`, where the C library is the one that it speaks to.

fn main() {
    println!("cargo::rerun-if-changed=src/allocator.c");
    let of_target = |name: &str| std::env::var(name).unwrap_or_default();
    if of_target("CARGO_CFG_TARGET_OS") == "linux" && of_target("CARGO_CFG_TARGET_ENV") == "gnu" {
        cc::Build::new()
            .file("src/allocator.c")
            // Nothing calls it, so the linker would leave it out.
            .link_lib_modifier("+whole-archive")
            .compile("allocator");
    }
}
