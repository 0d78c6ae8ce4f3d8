//! From what a caller asks for to what the keeper does: paths checked, links resolved.

use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::cage::OpenError;
use crate::mountinfo::{self, Mount};
use crate::spec::{Alias, CageSpec, Desk, HOME};
use crate::wire::{Mapping, Plan, Rlimits};

/// Checks a spec. What is named to be read or written was checked by the caller under that very name, so a link in it is
/// refused and not followed: where it leads now is not what was checked. What is found later is held to the same.
pub(crate) fn plan(spec: &CageSpec) -> Result<Plan, OpenError> {
    let mut mappings = Vec::new();
    for (binds, writable) in [(&spec.read, false), (&spec.write, true)] {
        for bind in binds {
            let mapping = mapping(without_links(&bind.host)?, &bind.inside, writable)?;
            mappings.push(Mapping { file_only: bind.file_only, ..mapping });
        }
    }
    for path in &spec.expose {
        mappings.push(mapping(resolved(path)?, path, false)?);
    }
    let mut aliases = spec.aliases.iter().map(alias).collect::<Result<Vec<_>, _>>()?;
    // A name may lead through one that is shorter.
    aliases.sort_by_key(|alias| alias.at.components().count());
    let project = spec.project.as_deref().map(without_links).transpose()?;
    let mut mask = spec.mask.iter().map(|path| masked(path)).collect::<Result<Vec<_>, _>>()?;
    let mounts = if mask.is_empty() { Vec::new() } else { mountinfo::read().map_err(OpenError::Launcher)? };
    with_second_mounts(&mut mask, &mounts);
    mask.sort();
    // Within a masked folder there is nothing left to mask.
    mask.dedup_by(|inner, outer| inner.starts_with(outer));
    if let Some(hidden) = project.iter().find(|project| mask.iter().any(|mask| project.starts_with(mask))) {
        return Err(bad(hidden, "the project lies in a masked folder"));
    }
    if let Some(Desk { at, given, files }) = &spec.desk {
        let name = |path: &&PathBuf| {
            let mut parts = path.components();
            !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
        };
        if let Some(path) = [at].into_iter().chain(given).chain(files).find(name) {
            return Err(bad(path, "what is the caller's own is one name"));
        }
    }
    Ok(Plan {
        hostname: spec.name.as_str().into(),
        sandbox: spec.sandbox,
        project,
        mappings,
        aliases,
        mask,
        desk: spec.desk.clone(),
        limits: spec.limits,
        user_namespace: false,
        rlimits: Rlimits::default(),
    })
}

/// The cage's own folders, which a mapping must not replace. The workspace may be one that is written on the host.
const OWN: [&str; 2] = [HOME, "/tmp"];

/// A mask hides a folder and not a name: where the same one is mounted a second time, it is hidden as well.
fn with_second_mounts(mask: &mut Vec<PathBuf>, mounts: &[Mount]) {
    let again: Vec<PathBuf> = mask.iter().flat_map(|path| mountinfo::second_mounts(mounts, path)).collect();
    mask.extend(again.into_iter().filter(|path| path.to_str().is_some()));
}

/// A path of the cage, if it is one that something can have.
fn plain(inside: &Path) -> Result<PathBuf, OpenError> {
    let plain = inside.is_absolute()
        && inside.components().skip(1).all(|part| matches!(part, Component::Normal(_)))
        && inside != Path::new("/");
    if !plain {
        return Err(bad(inside, "a path inside must be absolute, without `..`, and not the root"));
    }
    sayable(inside.components().collect())
}

fn alias(alias: &Alias) -> Result<Alias, OpenError> {
    Ok(Alias { at: plain(&alias.at)?, to: plain(&alias.to)? })
}

fn mapping(host: PathBuf, inside: &Path, writable: bool) -> Result<Mapping, OpenError> {
    let place = plain(inside)?;
    if ["/proc", "/dev"].iter().any(|own| inside.starts_with(own)) {
        return Err(bad(inside, "the cage's own /proc and /dev cannot be replaced"));
    }
    // Anything at or above them would take their place.
    if OWN.iter().any(|own| Path::new(own).starts_with(inside)) {
        return Err(bad(inside, "the cage has its own there; name what is needed in it"));
    }
    Ok(Mapping { host, inside: place, writable, file_only: false })
}

fn resolved(host: &Path) -> Result<PathBuf, OpenError> {
    if !host.is_absolute() {
        return Err(bad(host, "a path of the host must be absolute"));
    }
    fs::canonicalize(host).map_err(|error| bad(host, error)).and_then(sayable)
}

/// A path that is its own place. It may be exchanged at any time: then it is refused here, or where it is found.
fn without_links(host: &Path) -> Result<PathBuf, OpenError> {
    match resolved(host)? {
        found if found == host => Ok(found),
        found => Err(bad(host, format!("it leads to {}; a path without links is needed", found.display()))),
    }
}

/// The launcher is told in JSON.
fn sayable(path: PathBuf) -> Result<PathBuf, OpenError> {
    match path.to_str() {
        Some(_) => Ok(path),
        None => Err(bad(&path, "a path must be UTF-8")),
    }
}

/// What is masked need not exist; then as much of it as exists is resolved.
fn masked(path: &Path) -> Result<PathBuf, OpenError> {
    if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
        return Err(bad(path, "a masked path must be absolute and without `..`"));
    }
    for above in path.ancestors() {
        if let Ok(found) = fs::canonicalize(above) {
            let rest = path.strip_prefix(above).unwrap_or(Path::new(""));
            return sayable(found.join(rest).components().collect());
        }
    }
    sayable(path.to_owned())
}

fn bad(path: &Path, why: impl std::fmt::Display) -> OpenError {
    OpenError::BadPath { path: path.to_owned(), why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bind;
    use eparch_domain::Name;

    fn spec() -> CageSpec {
        CageSpec::new(Name::new("test").unwrap())
    }

    #[test]
    fn paths_that_cannot_be_shown_are_named() {
        for (host, inside) in [
            ("/usr", "/"),
            ("/usr", "a"),
            ("/usr", "/a/../b"),
            ("/usr", "/proc/x"),
            ("/tmp", "/tmp"),
            ("/usr", "/home"),
            ("/usr", "/home/agent"),
            ("usr", "/a"),
            ("/none", "/a"),
            // A link, and a name that is not its own place.
            ("/proc/self", "/a"),
            ("/usr/../etc", "/a"),
        ] {
            let mut spec = spec();
            spec.read.push(Bind::new(host, inside));
            assert!(matches!(plan(&spec), Err(OpenError::BadPath { .. })), "{host} {inside}");
        }
    }

    #[test]
    fn masks_are_resolved_and_nested_ones_are_one() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        std::os::unix::fs::symlink(&real, real.join("link")).unwrap();
        let mut spec = spec();
        spec.mask = vec![real.join("link/home/keys"), real.join("home"), real.join("other")];
        assert_eq!(plan(&spec).unwrap().mask, [real.join("home"), real.join("other")]);
        spec.project = Some(real.clone());
        assert!(plan(&spec).is_ok());
        spec.mask.push(real);
        assert!(matches!(plan(&spec), Err(OpenError::BadPath { .. })));
    }
}
