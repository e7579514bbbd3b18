//! Every shader passes naga's validation, wherever it is used from.

use wgpu::naga;

#[test]
fn every_shader_is_valid() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    let mut seen = 0;
    for entry in std::fs::read_dir(&dir).expect("the shaders' folder") {
        let path = entry.expect("an entry").path();
        let source = std::fs::read_to_string(&path).expect("text");
        let module = naga::front::wgsl::parse_str(&source)
            .unwrap_or_else(|e| panic!("{}", e.emit_to_string_with_path(&source, &path.display().to_string())));
        let mut validator =
            naga::valid::Validator::new(naga::valid::ValidationFlags::all(), naga::valid::Capabilities::empty());
        if let Err(e) = validator.validate(&module) {
            panic!("{}", e.emit_to_string_with_path(&source, &path.display().to_string()));
        }
        assert!(!module.entry_points.is_empty(), "{} has no entry point", path.display());
        seen += 1;
    }
    assert_eq!(seen, 5, "a shader a pass");
}

#[test]
fn every_shader_bears_the_name_of_its_rust_file() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for entry in std::fs::read_dir(root.join("shaders")).expect("the shaders' folder") {
        let path = entry.expect("an entry").path();
        let twin = root.join("src/render").join(path.with_extension("rs").file_name().expect("a name"));
        assert!(twin.is_file(), "{} is missing", twin.display());
    }
}
