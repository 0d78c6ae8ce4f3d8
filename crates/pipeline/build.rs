//! Lists the templates of the workspace, so that they are part of the program and a new file needs no second mention.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../../templates");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut list = String::from("&[\n");
    for path in sorted(&root)? {
        if path.extension().is_some_and(|extension| extension == "yaml") {
            writeln!(list, "    ({:?}, include_str!({path:?})),", name(&path))
                .expect("writing to text cannot fail");
        }
    }
    list.push_str("]\n");
    let mut files = String::from("&[\n");
    for folder in sorted(&root)?.into_iter().filter(|path| path.is_dir()) {
        println!("cargo::rerun-if-changed={}", folder.display());
        for path in sorted(&folder)?.into_iter().filter(|path| path.is_file()) {
            let (folder, file) = (name(&folder), name(&path));
            writeln!(files, "    ({folder:?}, {file:?}, include_str!({path:?})),")
                .expect("writing to text cannot fail");
        }
    }
    files.push_str("]\n");
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("templates.rs"), list)?;
    fs::write(out.join("template_files.rs"), files)
}

/// What a folder holds, by name; nothing when there is no folder. Hidden files are editors' leftovers.
fn sorted(folder: &Path) -> io::Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut found =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    found.retain(|path| !name(path).starts_with('.'));
    found.sort();
    Ok(found)
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
