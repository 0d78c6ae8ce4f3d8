//! `eparch serve`: the holder at a terminal, or under a supervisor, with the API over TCP as well.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use eparch_daemon::{Client, HoldOptions, Home};
use eparch_sandbox::Launcher;
use serde_json::json;

use super::init;
use crate::args::Serve;
use crate::context::{Context, print_json};
use crate::failure::{Failure, exit};
use crate::holder::not_held;
use crate::output::outln;
use crate::paint;

/// Between two looks whether a home that somebody else holds is free.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Serves until SIGTERM or Ctrl-C.
pub(crate) fn serve(context: &Context, asked: &Serve) -> Result<u8, Failure> {
    if !asked.listen.ip().is_loopback() {
        let what = format!("{} can be reached from other machines, and this build has no TLS", asked.listen);
        return Err(Failure::new("EP0724", what)
            .hint("listen at 127.0.0.1 or [::1], and put a proxy that ends TLS before it")
            .exit(exit::BAD_CONFIGURATION));
    }
    let home = init::home_or_new(context)?;
    let settings = context.settings(home.root())?;
    let cannot = |problem: std::io::Error| {
        Failure::new("EP0723", format!("cannot listen at {}: {problem}", asked.listen))
            .hint("another program may listen there; --listen 127.0.0.1:0 takes a free port")
            .exit(exit::UNAVAILABLE)
    };
    let listener = TcpListener::bind(asked.listen).map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    let options = HoldOptions { settings, launcher: Launcher::this_program(), leave_when_idle: false };
    let mut told = None;
    loop {
        let (home_shown, is_json) = (home.clone(), context.is_json());
        let ready = move || announce(&home_shown, address, is_json);
        match eparch_daemon::serve(&home, &options, listener.try_clone().map_err(cannot)?, ready) {
            Ok(()) => return Ok(exit::DONE),
            Err(held) if held.is_held() => {
                wait_for(context, &home, &mut told)?;
                std::thread::sleep(LOOK_AGAIN);
            }
            Err(problem) => return Err(not_held(&problem)),
        }
    }
}

/// Says where it serves, once it does.
fn announce(home: &Home, address: SocketAddr, is_json: bool) {
    let url = format!("http://{address}");
    if is_json {
        let said = json!({ "url": url, "home": home.root(), "pid": std::process::id() });
        // Plain data; whether somebody reads it is looked at when the command ends.
        let _ = print_json(&said);
        return;
    }
    let paint = paint::out();
    outln!("Serving {} from {}", paint.bold(&url), home.root().display());
    outln!("  {url}/readyz  says what is enforced");
    outln!(
        "  everything else takes an operator's key: `Authorization: Bearer KEY`, KEY in HOME/keys/operators/NAME.key"
    );
    outln!("Ctrl-C ends it. Commands at other terminals find it by themselves.");
}

/// Says who holds the home, once for each: asking it again and again would keep it. One that serves the home already never
/// leaves by itself.
fn wait_for(context: &Context, home: &Home, told: &mut Option<u32>) -> Result<(), Failure> {
    let holder = home.locked_by().flatten();
    if holder.is_none() || *told == holder {
        return Ok(());
    }
    let asked = super::block_on(async { Ok(Client::new(&home.socket(), String::new()).ready().await) })?;
    // One that only begins or leaves has no door.
    let Ok(ready) = asked else { return Ok(()) };
    if let Some(url) = ready.url {
        return Err(Failure::new(
            "EP0725",
            format!("process {} serves this home already, at {url}", ready.pid),
        )
        .hint("use that one, or end it with SIGTERM first")
        .exit(exit::UNAVAILABLE));
    }
    *told = holder;
    let runs = match ready.live_runs {
        0 => "it leaves in some seconds".to_owned(),
        1 => "it leaves when its live run has ended".to_owned(),
        many => format!("it leaves when its {many} live runs have ended"),
    };
    context.say(&format!("Process {} holds this home: {runs}. Waiting…", ready.pid));
    Ok(())
}
