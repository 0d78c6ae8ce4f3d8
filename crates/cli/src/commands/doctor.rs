//! `eparch doctor`: whether this machine and this home are fit, and how to make them so.

mod holder;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use eparch_daemon::diagnostic::NoDiagnostic;
use eparch_daemon::wire::VaultStatus;
use eparch_daemon::{CallError, Client, Home, HomeError, KEY_VARIABLE, VaultSettings};
use eparch_domain::in_full;
use eparch_ledger::LedgerKey;
use eparch_sandbox::{Launcher, Status, probe};
use serde::Serialize;
use serde_json::json;

use super::diagnostic::in_use;
use super::ledger::{check_of, public_key, tenant};
use super::secrets::{stands, where_it_is};
use super::verify::has_witness;
use crate::context::{Context, print_json};
use crate::failure::{Failure, exit};
use crate::output::outln;
use crate::{paint, watch};

/// Free space below which a home is in danger: a workspace's worth of artifacts, and the ledger.
const LITTLE_SPACE: u64 = 1 << 30;

/// Free space below which nothing can be relied on.
const NO_SPACE: u64 = 64 << 20;

/// Programs that the templates' agents use.
const TOOLS: [(&str, &str); 3] = [
    ("sh", "every template's agent is started by it"),
    ("perl", "the agents of the templates default and code-review are written in it"),
    ("git", "the template code-review looks at git checkouts"),
];

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    what: String,
    state: State,
    detail: String,
    /// What can be done; empty when all is well.
    fix: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Good,
    /// Something is worse than it could be; agents can work.
    Poor,
    /// Something required is not there.
    Bad,
}

/// Looks at everything; exits with 0 only when what is required is there.
pub(crate) async fn doctor(context: &Context) -> Result<u8, Failure> {
    let mut groups: Vec<(&str, Vec<Finding>)> =
        vec![("confinement", confinement()), ("programs", programs())];
    let root = context.home_root();
    groups.push(("home", home(context, &root).await));
    let fit = groups.iter().flat_map(|(_, findings)| findings).all(|finding| finding.state != State::Bad);
    if context.is_json() {
        let groups: serde_json::Map<String, serde_json::Value> =
            groups.iter().map(|(name, findings)| ((*name).to_owned(), json!(findings))).collect();
        print_json(&json!({ "fit": fit, "checks": groups }))?;
    } else {
        groups.iter().for_each(|(name, findings)| show(name, findings));
        let paint = paint::out();
        outln!(
            "{}",
            if fit {
                paint.good("✔ fit to run agents")
            } else {
                paint.bad("✘ not fit: something required is missing")
            }
        );
    }
    Ok(if fit { exit::DONE } else { exit::UNAVAILABLE })
}

fn show(name: &str, findings: &[Finding]) {
    let paint = paint::out();
    outln!("{}", paint.bold(name));
    for finding in findings {
        let sign = match finding.state {
            State::Good => paint.good("✔"),
            State::Poor => paint.warn("!"),
            State::Bad => paint.bad("✘"),
        };
        outln!("  {sign} {:<22} {}", finding.what, paint.faint(&paint::harmless(&finding.detail)));
        if !finding.fix.is_empty() {
            outln!("      to fix it: {}", finding.fix);
        }
    }
    outln!();
}

fn good(what: &str, detail: impl Into<String>) -> Finding {
    Finding { what: what.to_owned(), state: State::Good, detail: detail.into(), fix: String::new() }
}

fn poor(what: &str, detail: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { what: what.to_owned(), state: State::Poor, detail: detail.into(), fix: fix.into() }
}

fn bad(what: &str, detail: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { what: what.to_owned(), state: State::Bad, detail: detail.into(), fix: fix.into() }
}

/// Every measure that confines agents, tried for real. All are required unless a stage says `sandbox: best-effort`.
fn confinement() -> Vec<Finding> {
    let measures = probe(&Launcher::this_program());
    let finding = |measure: &eparch_sandbox::Measure| match &measure.status {
        Status::InForce { by } => good(measure.name.as_str(), by.clone()),
        Status::Missing { why, how_to_get } => bad(measure.name.as_str(), why.clone(), how_to_get.clone()),
    };
    measures.iter().map(finding).collect()
}

fn programs() -> Vec<Finding> {
    let look = |(name, why): &(&str, &str)| match ["/usr/bin", "/bin", "/usr/local/bin"]
        .iter()
        .map(|dir| Path::new(dir).join(name))
        .find(|path| is_program(path))
    {
        Some(path) => good(name, path.display().to_string()),
        None => poor(
            name,
            format!("not found; {why}"),
            format!("install {name}, or make its folder visible with [sandbox] expose in eparch.toml"),
        ),
    };
    TOOLS.iter().map(look).collect()
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

async fn home(context: &Context, root: &Path) -> Vec<Finding> {
    let home = Home::open(root);
    if let Err(lost @ HomeError::KeysLost(_)) = &home {
        return vec![bad("keys", lost.to_string(), lost.hint()), space(root)];
    }
    let home = match home {
        Ok(home) => home,
        Err(none @ HomeError::Missing(_)) => {
            return vec![
                poor("home", format!("there is none at {} yet", root.display()), none.hint()),
                space(root),
            ];
        }
        // Nothing of it is looked at, its settings included: somebody else may have written them.
        Err(problem) => return vec![bad("permissions", in_full(&problem), problem.hint()), space(root)],
    };
    let mine = good("permissions", format!("{} is yours alone", home.root().display()));
    let mut found = vec![mine, space(root), settings(context, root)];
    found.extend(diagnostic(context, root));
    found.extend(holder::holder(context, &home).await);
    found.extend(vault(context, &home).await);
    found.extend(ledger(context, &home));
    found
}

fn space(root: &Path) -> Finding {
    // A home that is not there yet will lie on the disk of the nearest folder that is.
    let there = root.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("."));
    let fix = "free some space; when the ledger cannot be written, everything is denied";
    match rustix::fs::statvfs(there) {
        Err(problem) => poor("disk", problem.to_string(), fix),
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let detail = format!("{} free", watch::file_size(free));
            match free {
                0..NO_SPACE => bad("disk", detail, fix),
                NO_SPACE..LITTLE_SPACE => poor("disk", detail, fix),
                _ => good("disk", detail),
            }
        }
    }
}

fn settings(context: &Context, root: &Path) -> Finding {
    match context.settings(root) {
        Ok(settings) => {
            let missing =
                settings.sandbox.expose.iter().chain(&settings.ledger.witness_dirs).find(|dir| !dir.is_dir());
            match missing {
                Some(dir) => poor(
                    "settings",
                    format!("{} is not there", dir.display()),
                    "make the folder, or take it out of eparch.toml",
                ),
                None => good("settings", format!("{} agents at once", settings.agents.at_once)),
            }
        }
        Err(problem) => bad(
            "settings",
            problem.message(),
            "correct eparch.toml; `eparch config show` prints what can be set",
        ),
    }
}

/// What looks at runs that fail. A home with one that cannot be used is not held.
fn diagnostic(context: &Context, root: &Path) -> Option<Finding> {
    let settings = context.settings(root).ok()?;
    Some(match in_use(root, &settings) {
        Ok((file, _)) => good("diagnostic pipeline", file.place),
        Err(problem) => bad(
            "diagnostic pipeline",
            format!("{}: {}", NoDiagnostic::CODE, in_full(&problem)),
            NoDiagnostic::HINT,
        ),
    })
}

/// The key of whoever looks, where the home holds it. Without one less is told.
fn key_of(context: &Context, home: &Home) -> Option<String> {
    context.operator(home).ok().and_then(|name| home.operator_key(&name).ok())
}

/// How the vault is, as its holder says. Without one only its files are looked at: it is the holder's to open.
async fn vault(context: &Context, home: &Home) -> Option<Finding> {
    let settings = context.settings(home.root()).ok()?.vault;
    let key = key_of(context, home)?;
    match Client::new(&home.socket(), key).get::<VaultStatus>("/api/secrets-status").await {
        Ok(status) if status.usable => {
            Some(good("vault", format!("{}: {}", where_it_is(&status), stands(&status))))
        }
        Ok(status) => {
            let fix =
                status.problem.as_ref().map_or("docs/vault.md says what to do", |problem| &problem.hint);
            Some(poor("vault", format!("{}: {}", where_it_is(&status), stands(&status)), fix))
        }
        // What is wrong with the holder is a finding of its own.
        Err(CallError::Absent(_)) => Some(vault_at_rest(home, &settings)),
        Err(_) => None,
    }
}

fn vault_at_rest(home: &Home, settings: &VaultSettings) -> Finding {
    if let Some(address) = &settings.address {
        return good("vault", format!("the server {address}; the holder asks it when a secret is needed"));
    }
    let key = home.vault_key();
    if !home.sealed_vault().exists() {
        return good("vault", "none yet; the first secret makes it");
    }
    match key.metadata() {
        _ if settings.key.is_some() => good("vault", "a sealed file, with its key in the environment"),
        Ok(file) if file.permissions().mode() & 0o077 == 0 => good("vault", "a sealed file, with its key"),
        Ok(_) => poor(
            "vault",
            format!("others may read {}", key.display()),
            format!("chmod 600 {}", key.display()),
        ),
        Err(problem) => poor(
            "vault",
            format!("its key cannot be read: {}: {problem}", key.display()),
            format!("bring it back from a copy, or set {KEY_VARIABLE}; no other key opens the file"),
        ),
    }
}

fn ledger(context: &Context, home: &Home) -> Vec<Finding> {
    if !home.journal().exists() && LedgerKey::load_verifier(&home.keys()).is_err() {
        return vec![good("ledger", "none yet; the first run begins it")];
    }
    let fix = "`eparch ledger verify` says what is wrong, and where; bring the home back from a copy";
    let check = match public_key(home).and_then(|key| check_of(context, home, key)) {
        Err(problem) => return vec![bad("ledger", problem.message(), fix)],
        Ok(check) => check,
    };
    let report = match check.run() {
        Err(problem) => return vec![bad("ledger", problem.to_string(), fix)],
        Ok(report) => report,
    };
    let entries = report
        .tenants
        .iter()
        .find(|found| found.tenant == tenant().as_str())
        .map_or(0, |found| found.entries);
    let mut found = vec![match report.first_bad() {
        None => good("ledger", format!("{entries} entries, nothing was changed")),
        Some(first) => bad("ledger", first.what.clone(), fix),
    }];
    if !report.witnessed {
        let fix = match has_witness(&check) {
            true => "see that the folders of witness_dirs in eparch.toml are there and can be written to",
            false => "name a folder elsewhere in eparch.toml: [ledger] witness_dirs = [\"/somewhere/else\"]",
        };
        found.push(poor("witnesses", "no checkpoint outside the home vouches for it", fix));
    }
    found
}
