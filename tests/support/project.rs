//! The files of the project's own folder.

use std::fs;
use std::path::Path;

/// The folder that holds Cargo.toml.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file, named from the root.
pub fn read(name: &str) -> String {
    let path = root().join(name);
    fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("can't read {}: {error}", path.display()))
}

/// Every file below a folder whose name ends so, named from the root and in the order of their names; none if the
/// folder isn't there.
pub fn files_below(folder: &str, suffix: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.expect("a folder of the project can be read").path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.to_string_lossy().ends_with(suffix) => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found.iter().map(|path| name_of(path)).collect()
}

fn name_of(path: &Path) -> String {
    let name = path
        .strip_prefix(root())
        .expect("it was found below the root");
    name.to_string_lossy().into_owned()
}
