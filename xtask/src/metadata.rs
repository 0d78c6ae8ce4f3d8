//! What cargo knows about the workspace: its members and what each depends on.

use serde_json::Value;

use crate::process;
use crate::steps::Problem;
use crate::tree::Tree;

/// A package of the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// The folder, relative to the repository.
    pub(crate) folder: String,
    pub(crate) version: String,
    /// What it says of itself in one line.
    pub(crate) description: String,
    /// What it needs to work; neither what its tests need nor what its build script needs.
    pub(crate) dependencies: Vec<String>,
    /// Whether others can use it; only then can it have doctests.
    pub(crate) is_library: bool,
}

/// The members, in the order in which the manifest lists them.
pub(crate) fn members(tree: &Tree) -> Result<Vec<Member>, Problem> {
    let mut cargo = process::cargo(&["metadata", "--format-version", "1", "--no-deps"]);
    let text = process::output(cargo.current_dir(tree.root()))?;
    let root = tree.root().display().to_string();
    parse(&text, &root, &tree.read("Cargo.toml")?)
}

fn parse(metadata: &str, root: &str, manifest: &str) -> Result<Vec<Member>, Problem> {
    let metadata: Value = serde_json::from_str(metadata)
        .map_err(|cause| Problem::while_doing("reading what `cargo metadata` said", &cause))?;
    let mut members: Vec<Member> = list(&metadata["packages"]).map(|package| member(package, root)).collect();
    // Cargo sorts by name; the manifest's order is the order of the layers.
    members.sort_by_key(|member| manifest.find(&format!("\"{}\"", member.folder)));
    Ok(members)
}

fn member(package: &Value, root: &str) -> Member {
    let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
    let manifest = text("manifest_path");
    let folder = manifest.strip_prefix(root).unwrap_or(&manifest).trim_start_matches('/');
    let mut dependencies: Vec<String> = list(&package["dependencies"])
        .filter(|dependency| dependency["kind"].is_null())
        .filter_map(|dependency| dependency["name"].as_str().map(str::to_owned))
        .collect();
    dependencies.sort();
    dependencies.dedup();
    Member {
        name: text("name"),
        folder: folder.trim_end_matches("/Cargo.toml").to_owned(),
        version: text("version"),
        description: text("description"),
        dependencies,
        is_library: list(&package["targets"]).any(|target| list(&target["kind"]).any(|kind| kind == "lib")),
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_in_the_manifests_order_with_what_they_need_to_work() {
        let metadata = r#"{"packages": [
            {"name": "a", "version": "1.0.0", "manifest_path": "/r/crates/a/Cargo.toml", "description": "A",
             "dependencies": [{"name": "serde", "kind": null}, {"name": "tempfile", "kind": "dev"}],
             "targets": [{"kind": ["lib"]}, {"kind": ["test"]}]},
            {"name": "b", "version": "1.0.0", "manifest_path": "/r/crates/b/Cargo.toml", "description": null,
             "dependencies": [], "targets": [{"kind": ["bin"]}]}]}"#;
        let members = parse(metadata, "/r", "members = [\"crates/b\", \"crates/a\"]").unwrap();
        assert_eq!(members.iter().map(|member| member.name.as_str()).collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(members[1].dependencies, ["serde"]);
        assert_eq!(members[1].folder, "crates/a");
        assert_eq!(members.iter().map(|member| member.is_library).collect::<Vec<_>>(), [false, true]);
    }
}
