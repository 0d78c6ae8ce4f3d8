//! Whoever holds the home, found or started: commands are its clients, and the user need not know (interface.md 1).

mod setbacks;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use eparch_daemon::{
    CallError, Client, HoldError, HoldOptions, Home, Lines, NoPolicies, PolicyFiles, hold, wire,
};
use eparch_domain::{Name, in_full};
use eparch_sandbox::Launcher;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::commands::{diagnostic, policy};
use crate::context::Context;
use crate::failure::{Failure, exit};

pub(crate) use setbacks::Setbacks;

/// How long a holder may take to be ready: it opens the ledger and rebuilds its state.
const READY_DEADLINE: Duration = Duration::from_secs(10);

/// Between two looks whether it is ready.
const LOOK_AGAIN: Duration = Duration::from_millis(15);

/// A holder that is leaving needs a moment before another can take its place.
const START_AGAIN: Duration = Duration::from_millis(200);

/// What is to be done when nobody knows whether something was.
const MAY_BE_DONE: &str = "it may have been done: look at `eparch operator list`, `eparch runs list`, \
                           `eparch approvals list --all` or `eparch secrets get` before you ask again";

/// How long a process may hold a home without a door before it is named: one that begins or leaves needs less.
const MUTE_FOR: Duration = Duration::from_secs(3);

/// What a holder ends with when somebody else holds the home (EX_TEMPFAIL).
const HELD_ALREADY: u8 = 75;

/// The warning that a holder works with other settings.
const OTHER_SETTINGS: &str = "EP0721";

/// How a holder's allocator is told to take memory as it needs it, not ahead in huge pages: it lives long, with a thread for
/// each agent, and what each of them would take ahead adds up (decision 0009).
const FRUGAL: (&str, &str) = ("MIMALLOC_ARENA_EAGER_COMMIT", "0");

/// How much of the holder's last words is shown.
const LAST_WORDS: usize = 12;

/// The home's holder, as one operator calls it.
#[derive(Debug)]
pub(crate) struct Desk<'c> {
    context: &'c Context,
    home: Home,
    client: Client,
}

impl<'c> Desk<'c> {
    /// The desk of the home that is there.
    pub(crate) fn open(context: &'c Context) -> Result<Desk<'c>, Failure> {
        let home = context.home()?;
        Desk::of(context, home)
    }

    /// The desk of a home.
    pub(crate) fn of(context: &'c Context, home: Home) -> Result<Desk<'c>, Failure> {
        let name = context.operator(&home)?;
        Desk::for_operator(context, home, &name)
    }

    /// The desk of a home, called by the owner whoever `--as` names: for answers that carry their own proof.
    pub(crate) fn for_owner(context: &'c Context) -> Result<Desk<'c>, Failure> {
        let home = context.home()?;
        let name = home.owner()?;
        Desk::for_operator(context, home, &name)
    }

    fn for_operator(context: &'c Context, home: Home, name: &Name) -> Result<Desk<'c>, Failure> {
        let client = Client::new(&home.socket(), home.operator_key(name)?);
        Ok(Desk { context, home, client })
    }

    /// The same desk for another operator whose key the home holds.
    pub(crate) fn by(&self, name: &Name) -> Result<Desk<'c>, Failure> {
        Desk::for_operator(self.context, self.home.clone(), name)
    }

    /// The home.
    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// Reads something.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.again(|| self.client.get(path), is_away).await
    }

    /// How the holder is, also one that is unwell.
    pub(crate) async fn ready(&self) -> Result<wire::Ready, Failure> {
        self.again(|| self.client.ready(), is_away).await
    }

    /// Asks for something that must not be asked twice: a holder that goes away meanwhile is an error.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        self.again(|| self.client.post(path, body), is_absent).await
    }

    /// Asks for something that may be asked twice.
    pub(crate) async fn post_again<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        self.again(|| self.client.post(path, body), is_away).await
    }

    /// Hands something over to be kept, once.
    pub(crate) async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        self.again(|| self.client.put(path, body), is_absent).await
    }

    /// Asks for something to be removed.
    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.again(|| self.client.delete(path), is_absent).await
    }

    /// Opens a stream of events.
    pub(crate) async fn stream(&self, path: &str) -> Result<Lines, Failure> {
        self.again(|| self.client.stream(path), is_away).await
    }

    /// Says so when the holder works with other settings than a command would read now: it has those of its beginning. One
    /// that is unwell does not know what it is busy with, and says of each request what is wrong.
    pub(crate) async fn compare_settings(&self) -> Result<(), Failure> {
        let ready = self.ready().await?;
        let ours = self.context.settings(self.home.root())?.digest();
        let theirs = ready.details.as_ref().and_then(|details| details.settings);
        if ready.ok && theirs.is_some_and(|theirs| theirs != ours) {
            self.context.say(&format!("warning[{OTHER_SETTINGS}]: {}", other_settings(&ready)));
        }
        Ok(())
    }

    /// Calls; starts a holder when there is none, and calls again when the one that was there has gone.
    async fn again<T, F: Future<Output = Result<T, CallError>>>(
        &self,
        call: impl Fn() -> F,
        worth_it: impl Fn(&CallError) -> bool,
    ) -> Result<T, Failure> {
        let mut tries = 0;
        loop {
            match call().await {
                Err(problem) if tries < 3 && worth_it(&problem) => {
                    tries += 1;
                    // One that is leaving is not asked again at once.
                    tokio::time::sleep(LOOK_AGAIN).await;
                    self.ensure_holder().await?;
                }
                Err(lost @ CallError::Lost(_)) if !worth_it(&lost) => {
                    return Err(Failure::from(lost).hint(MAY_BE_DONE));
                }
                result => return result.map_err(Failure::from),
            }
        }
    }

    /// Returns when somebody holds the home and answers; starts a holder when nobody does.
    pub(crate) async fn ensure_holder(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + READY_DEADLINE;
        let mut started: Option<Started> = None;
        let mut not_before = Instant::now();
        loop {
            match self.client.ready().await {
                // One that is unwell answers, too, and says of each request what is wrong with it.
                Ok(_) | Err(CallError::Problem(_) | CallError::Nonsense(_)) => return Ok(()),
                Err(CallError::Absent(refused)) if refused.kind() == io::ErrorKind::PermissionDenied => {
                    return Err(no_holder("this home belongs to somebody else", "")
                        .hint("use your own home with --home DIR"));
                }
                Err(CallError::Absent(_) | CallError::Lost(_)) => {}
            }
            if let Some(child) = &mut started
                && let Some(code) = child.ended()?
            {
                // Held by somebody who does not answer yet, or left because nobody needed it: look again.
                if code != Some(HELD_ALREADY.into()) && code != Some(0) {
                    return Err(self.why_none(&child.last_words()));
                }
                started = None;
                not_before = Instant::now() + START_AGAIN;
            }
            if Instant::now() >= deadline {
                let words = started.as_ref().map(Started::last_words).unwrap_or_default();
                let mute = self.home.locked_by().map(|by| format!(": {}", mute(by))).unwrap_or_default();
                return Err(no_holder(&format!("no holder was ready within 10 seconds{mute}"), &words));
            }
            if started.is_none() && Instant::now() >= not_before {
                started = Some(self.start()?);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Why a holder that was started has ended: what a person can mend is said as what it is.
    fn why_none(&self, words: &str) -> Failure {
        let policies = PolicyFiles::of_home(self.home.root()).map_err(NoPolicies::from);
        match policies.and_then(|files| files.load()) {
            Err(problem) => policy::unusable(&problem).exit(exit::UNAVAILABLE),
            Ok(_) => no_holder("the holder ended before it was ready", words),
        }
    }

    fn start(&self) -> Result<Started, Failure> {
        // What is wrong with what it begins with is better said here than in a log.
        let settings = self.context.settings(self.home.root())?;
        diagnostic::in_use(self.home.root(), &settings)
            .map_err(|problem| diagnostic::unusable(&problem).exit(exit::UNAVAILABLE))?;
        let log = self.home.logs().join("holder.log");
        let cannot = |problem: io::Error| no_holder(&format!("a holder cannot be started: {problem}"), "");
        fs::create_dir_all(self.home.logs()).map_err(cannot)?;
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&log).map_err(cannot)?;
        let from = file.metadata().map_err(cannot)?.len();
        // This very program, even when its file has been replaced meanwhile.
        let mut command = Command::new("/proc/self/exe");
        std::os::unix::process::CommandExt::arg0(&mut command, "eparch");
        command.arg("__hold").arg("--home").arg(self.home.root()).env(FRUGAL.0, FRUGAL.1);
        if let Some(config) = self.context.config_file() {
            command.arg("--config").arg(fs::canonicalize(config).map_err(cannot)?);
        }
        let command =
            command.current_dir(self.home.root()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        Ok(Started { child: command.spawn().map_err(cannot)?, log, from })
    }
}

/// What is to be known of a holder that works with other settings.
pub(crate) fn other_settings(ready: &wire::Ready) -> String {
    let alive = match ready.live_runs {
        0 => "it leaves soon, and the next one reads them".to_owned(),
        1 => "they are read when its live run has ended".to_owned(),
        many => format!("they are read when its {many} live runs have ended"),
    };
    format!(
        "the settings have changed since this home's holder (process {}) began, and are not in force: {alive}",
        ready.pid
    )
}

/// What is to be known of a process that holds the home and does not answer.
pub(crate) fn mute(by: Option<u32>) -> String {
    let who = by.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
    format!("{who} holds the home and does not answer")
}

/// Returns the process that holds the home and does not come to its door, if there is one: not one that is only beginning
/// or leaving.
pub(crate) async fn find_mute(home: &Home) -> Option<Option<u32>> {
    let deadline = Instant::now() + MUTE_FOR;
    loop {
        let by = home.locked_by()?;
        if !matches!(Client::new(&home.socket(), String::new()).ready().await, Err(CallError::Absent(_))) {
            return None;
        }
        if Instant::now() >= deadline {
            return Some(by);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Whether nothing was done for sure: nobody was there, or the holder said that it is leaving.
fn is_absent(problem: &CallError) -> bool {
    match problem {
        CallError::Absent(_) => true,
        CallError::Problem(problem) => problem.code == "EP0511",
        _ => false,
    }
}

fn is_away(problem: &CallError) -> bool {
    is_absent(problem) || matches!(problem, CallError::Lost(_))
}

fn no_holder(what: &str, words: &str) -> Failure {
    Failure::new("EP0704", what)
        .detail(words)
        .hint("`eparch doctor` looks for what is wrong; HOME/logs/holder.log has the holder's own words")
        .exit(exit::UNAVAILABLE)
}

/// A holder that was started here.
struct Started {
    child: Child,
    log: PathBuf,
    /// Where its words begin.
    from: u64,
}

impl Started {
    /// Its exit code, when it has ended; `None` inside when a signal ended it.
    fn ended(&mut self) -> Result<Option<Option<i32>>, Failure> {
        let ended = self
            .child
            .try_wait()
            .map_err(|problem| no_holder(&format!("the holder is lost: {problem}"), ""))?;
        Ok(ended.map(|status| status.code()))
    }

    fn last_words(&self) -> String {
        let read = || -> io::Result<String> {
            let mut file = File::open(&self.log)?;
            file.seek(SeekFrom::Start(self.from))?;
            let mut text = Vec::new();
            file.take(64 << 10).read_to_end(&mut text)?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        };
        let text = read().unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n")
    }
}

/// Holds the home until nobody needs it: what `__hold` does.
pub(crate) fn hold_home(context: &Context) -> Result<u8, Failure> {
    // A session of its own: a Ctrl-C at the terminal is for whoever started it. It fails for the leader of a group, which
    // is what a shell makes of a command: then somebody wants it at their terminal.
    let _ = rustix::process::setsid();
    let home = context.home()?;
    let settings = context.settings(home.root())?;
    let options = HoldOptions { settings, launcher: Launcher::this_program(), leave_when_idle: true };
    match hold(&home, &options) {
        Ok(()) => Ok(exit::DONE),
        Err(held) if held.is_held() => Ok(HELD_ALREADY),
        Err(problem) => Err(not_held(&problem)),
    }
}

/// That a home could not be held.
pub(crate) fn not_held(problem: &HoldError) -> Failure {
    let failure = match problem {
        HoldError::NoDiagnostic(problem) => diagnostic::unusable(problem),
        HoldError::NoPolicies(problem) => policy::unusable(problem),
        _ => Failure::new("EP0704", in_full(problem)).hint("`eparch doctor` looks for what is wrong"),
    };
    failure.exit(exit::UNAVAILABLE)
}
