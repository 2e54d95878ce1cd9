//! Links `src/allocator.c`, where the C library is the one that it speaks to.

fn main() {
    println!("cargo::rerun-if-changed=src/allocator.c");
    let of_target = |name: &str| std::env::var(name).unwrap_or_default();
    if of_target("CARGO_CFG_TARGET_OS") == "linux" && of_target("CARGO_CFG_TARGET_ENV") == "gnu" {
        // Nothing calls what is in it, so that it would be left out of an archive.
        for object in cc::Build::new()
            .file("src/allocator.c")
            .compile_intermediates()
        {
            println!("cargo::rustc-link-arg-bins={}", object.display());
        }
    }
}
