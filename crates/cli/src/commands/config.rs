//! Settings: what is in force, and whether they can be.

use eparch_domain::InOrder;
use serde_json::json;

use crate::args::Config;
use crate::context::{Context, print_json};
use crate::failure::{Failure, exit};
use crate::output::outln;

/// `eparch config …`.
pub(crate) fn carry_out(context: &Context, command: &Config) -> Result<u8, Failure> {
    let home = context.home_root();
    let file = context.config_file().map_or_else(|| home.join("eparch.toml"), std::path::Path::to_owned);
    let settings = context.settings(&home)?;
    let found = file.is_file();
    match command {
        Config::Show if context.is_json() => print_json(&settings)?,
        Config::Show => {
            let text = toml::to_string_pretty(&settings);
            let text = text
                .map_err(|problem| Failure::new("EP0706", format!("cannot write the settings: {problem}")))?;
            outln!(
                "# {}{}\n{}",
                file.display(),
                if found { "" } else { ": not there; these are the defaults" },
                text.trim_end()
            );
        }
        Config::Check if context.is_json() => {
            print_json(&json!({ "valid": true, "file": file, "found": found }))?
        }
        Config::Check if found => outln!("{}: valid", file.display()),
        Config::Check => outln!("{}: not there; the defaults are in force", file.display()),
        Config::Schema => print_json(&InOrder(&eparch_daemon::Settings::schema()))?,
    }
    Ok(exit::DONE)
}
