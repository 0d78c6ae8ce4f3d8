//! Versions: of the program, and of the core definitions (R040).

use eparch_domain::{CORE_HISTORY, CORE_VERSION};
use serde_json::json;

use crate::context::{Context, print_json};
use crate::failure::{Failure, exit};
use crate::output::outln;

/// Prints them.
pub(crate) fn version(context: &Context, core: bool) -> Result<u8, Failure> {
    let program = env!("CARGO_PKG_VERSION");
    if context.is_json() {
        let line = |(version, date, change): &(&str, &str, &str)| json!({ "version": version, "date": date, "change": change });
        let history: Vec<_> = CORE_HISTORY.iter().map(line).collect();
        print_json(&json!({ "eparch": program, "core": CORE_VERSION, "core_history": history }))?;
    } else if core {
        outln!("{CORE_VERSION}");
        for (version, date, change) in CORE_HISTORY.iter().rev() {
            context.say(&format!("  {version}  {date}  {change}"));
        }
    } else {
        outln!("eparch {program} (core {CORE_VERSION})");
    }
    Ok(exit::DONE)
}
