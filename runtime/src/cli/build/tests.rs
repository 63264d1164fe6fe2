//! Builds of small directories, with the cargo that runs these tests.

use super::*;
use tempfile::TempDir;

const PROGRAM: &str = "fn main() {}\n";

/// Makes a directory with a crate `one`, with `manifest` appended to its manifest.
fn with_crate(source: &str, manifest: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    add_crate(dir.path(), "one", source, manifest);
    dir
}

fn add_crate(dir: &Path, name: &str, source: &str, manifest: &str) {
    fs::create_dir_all(dir.join(name).join("src")).unwrap();
    let head = format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n");
    fs::write(dir.join(name).join("Cargo.toml"), head + manifest).unwrap();
    fs::write(dir.join(name).join("src/main.rs"), source).unwrap();
}

fn build_in(dir: &TempDir) -> Result<Vec<Built>> {
    build(dir.path(), &BuildOptions { target_dir: Some(dir.path().join("target")) }, &|_| ())
}

#[test]
fn a_crate_becomes_a_module_and_a_second_build_changes_nothing() {
    let dir = with_crate(PROGRAM, "");

    let first = build_in(&dir).unwrap();
    let modified = fs::metadata(&first[0].module).unwrap().modified().unwrap();
    let second = build_in(&dir).unwrap();

    assert_eq!((first[0].name.as_str(), first[0].fresh), ("one", false));
    assert!(first[0].module.ends_with("build/one.wasm"));
    assert!(fs::read(&first[0].module).unwrap().starts_with(b"\0asm\x01\0\0\0"), "a core module");
    assert!(second[0].fresh);
    assert_eq!(fs::metadata(&second[0].module).unwrap().modified().unwrap(), modified);
    assert_eq!(fs::read_dir(dir.path().join(OUTPUT)).unwrap().count(), 1, "no leftovers");
}

#[test]
fn a_second_target_has_its_own_name() {
    let dir = with_crate(
        PROGRAM,
        "[package.metadata.portcullis]\ntargets = [\"wasm32-wasip1\", \"wasm32-wasip2\"]\n",
    );

    let built = build_in(&dir).unwrap();

    let names: Vec<&str> = built.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["one", "one-wasip2"]);
    assert!(fs::read(&built[1].module).unwrap().starts_with(b"\0asm\x0d\0\x01\0"), "a component");
}

#[test]
fn the_crates_of_a_workspace_are_built_and_its_libraries_are_not() {
    let dir = with_crate(PROGRAM, "");
    add_crate(dir.path(), "two", PROGRAM, "");
    add_crate(dir.path(), "shared", PROGRAM, "");
    fs::rename(dir.path().join("shared/src/main.rs"), dir.path().join("shared/src/lib.rs")).unwrap();
    fs::write(
        dir.path().join("Cargo.toml"),
        "[workspace]\nresolver = \"3\"\nmembers = [\"*\"]\nexclude = [\"build\", \"target\"]\n",
    )
    .unwrap();

    let built = build_in(&dir).unwrap();

    assert_eq!(built.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["one", "two"]);
}

#[test]
fn a_directory_that_is_a_crate_is_built() {
    let dir = with_crate(PROGRAM, "");

    let built = build(
        &dir.path().join("one"),
        &BuildOptions { target_dir: Some(dir.path().join("target")) },
        &|_| (),
    );

    assert!(built.unwrap()[0].module.ends_with("one/build/one.wasm"));
}

#[test]
fn text_is_assembled() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("tea.wat"), "(module)").unwrap();

    let built = build_in(&dir).unwrap();

    assert_eq!(built[0].name, "tea");
    assert_eq!(fs::read(&built[0].module).unwrap(), b"\0asm\x01\0\0\0");
}

#[test]
fn what_does_not_compile_is_named_and_the_old_module_stays() {
    let dir = with_crate(PROGRAM, "");
    let module = build_in(&dir).unwrap().remove(0).module;
    let before = fs::read(&module).unwrap();
    fs::write(dir.path().join("one/src/main.rs"), "fn main() { nonsense }").unwrap();

    let error = build_in(&dir).unwrap_err().to_string();

    assert_eq!(error, "one: does not build for wasm32-wasip1");
    assert_eq!(fs::read(&module).unwrap(), before);
}

#[test]
fn text_that_does_not_assemble_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("tea.wat"), "(module").unwrap();

    let error = build_in(&dir).unwrap_err().to_string();

    assert!(error.ends_with("tea.wat: does not assemble"), "{error}");
}

#[test]
fn two_handlers_of_one_name_are_refused() {
    let dir = with_crate(PROGRAM, "");
    fs::write(dir.path().join("one.wat"), "(module)").unwrap();

    let error = build_in(&dir).unwrap_err().to_string();

    assert!(error.contains("two handlers are called \"one\""), "{error}");
}

#[test]
fn a_directory_without_handlers_builds_nothing_and_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();

    assert_eq!(build_in(&dir).unwrap(), []);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
