//! Embeds the design's fonts (fetched by `.ci/fonts`, not in the repository) and the built-in symbols.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// File names under `assets/fonts`, as `src/raster/fonts.rs` knows them.
const FONTS: [&str; 6] = [
    "BarlowCondensed_600SemiBold.ttf",
    "BarlowCondensed_700Bold.ttf",
    "AtkinsonHyperlegibleNext_400Regular.ttf",
    "AtkinsonHyperlegibleNext_600SemiBold.ttf",
    "JetBrainsMono_500Medium.ttf",
    "JetBrainsMono_700Bold.ttf",
];

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    println!("cargo:rerun-if-changed=build.rs");
    write_if_changed(&out.join("fonts.rs"), &fonts(&root.join("assets/fonts")));
    write_if_changed(&out.join("symbols.rs"), &symbols(&root.join("assets/symbols")));
}

/// A slice of (file name, bytes) of the fonts that are there.
fn fonts(dir: &Path) -> String {
    let mut code = String::from("&[\n");
    let mut missing = Vec::new();
    // A path that does not exist makes cargo run this again each time, which is what we want until the fonts are there.
    for name in FONTS {
        let path = dir.join(name);
        println!("cargo:rerun-if-changed={}", path.display());
        if path.is_file() {
            let _ = writeln!(code, "    ({name:?}, include_bytes!({path:?}) as &[u8]),");
        } else {
            missing.push(name);
        }
    }
    if !missing.is_empty() {
        println!("cargo:warning=fonts not embedded: {} (run .ci/fonts)", missing.join(", "));
    }
    code + "]\n"
}

/// A slice of (name without `.svg`, text), sorted by name.
fn symbols(dir: &Path) -> String {
    println!("cargo:rerun-if-changed={}", dir.display());
    let mut found: Vec<(String, PathBuf)> = Vec::new();
    for group in sorted(dir) {
        for file in sorted(&group).into_iter().filter(|f| f.extension().is_some_and(|e| e == "svg")) {
            let part = |p: &Path| p.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            found.push((format!("{}/{}", part(&group), part(&file)), file));
        }
    }
    found.sort();
    let mut code = String::from("&[\n");
    for (name, path) in found {
        let _ = writeln!(code, "    ({name:?}, include_str!({path:?})),");
    }
    code + "]\n"
}

fn sorted(dir: &Path) -> Vec<PathBuf> {
    let mut v: Vec<PathBuf> = fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect();
    v.sort();
    v
}

fn write_if_changed(path: &Path, text: &str) {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return;
    }
    fs::write(path, text).expect("OUT_DIR is writable");
}
