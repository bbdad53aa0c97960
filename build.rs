//! Tells the program for which target it was built, so that `bundle` knows what is native.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=HIPFLASK_TARGET={}", std::env::var("TARGET").unwrap_or_default());
}
