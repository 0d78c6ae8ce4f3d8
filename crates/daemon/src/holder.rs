//! The holder of a home: the one process that decides for it. It leaves when nobody needs it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use eparch_domain::{Clock, Digest, Moment, Name, Tier, limits};
use eparch_governor::{Event, Governor, Key, Operator, OperatorRole, Record};
use eparch_ledger::views::{Views, ViewsError};
use eparch_ledger::{Ledger, OpenError, ReadError, Settings as LedgerSettings};
use eparch_pipeline::Pipeline;
use eparch_policy::PolicySet;
use eparch_sandbox::Launcher;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;

use crate::agents::live::Agents;
use crate::api::{self, App, ReadModels};
use crate::artifacts::Artifacts;
use crate::clock::SystemClock;
use crate::config::Settings;
use crate::diagnostic::{DiagnosticFile, NoDiagnostic};
use crate::doors::{DoorThreads, Doors};
use crate::driver::{Core, Driver, ENGINE, Handle, Input, RecoverError, SubmitError};
use crate::home::{Home, HomeError};
use crate::journal::LedgerJournal;
use crate::live_events::Broadcast;
use crate::patient::AtPatience;
use crate::perform::credentials::end_what_was_left;
use crate::perform::{Performer, Tools};
use crate::policies::{NoPolicies, PolicyFiles};
use crate::public_door;
use crate::socket::ShortPath;
use crate::vault::HomeVault;
use crate::watched::Watched;

pub use eparch_governor::TENANT;

/// How often the holder asks itself whether anybody needs it.
const IDLE_CHECK: Duration = Duration::from_millis(500);

/// How long callers who were at the door already may take to say what they want, when the holder leaves.
const LAST_CALL: Duration = Duration::from_secs(2);

/// How long agents wait for the driver to have ended, when the holder leaves: what becomes of one that it left is then nobody's to
/// decide. A driver that takes longer, as on a disk that does not answer, keeps none of them alive.
const LAST_TURN: Duration = Duration::from_secs(5);

/// How long what is left of the holder's work may take when everything that counts has ended.
const LAST_WORD: Duration = Duration::from_millis(500);

/// Reads and waits of people that hold a thread at once; others wait for one.
const READS_AT_ONCE: usize = 64;

/// What ends agents, and what else is done on their side, that holds a thread at once beside those that work.
const ENDINGS_AT_ONCE: usize = 64;

/// How long the holder itself waits for it after that: what it has written down counts, however it ends.
const LAST_SAVE: Duration = Duration::from_secs(30);

/// Why a home could not be held.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// The home itself.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The ledger cannot be opened; another process may hold it.
    #[error("cannot open the ledger")]
    Open(#[source] OpenError),
    /// The ledger cannot be read.
    #[error("cannot read the ledger")]
    Read(#[source] ReadError),
    /// State cannot be rebuilt from it.
    #[error("cannot rebuild state from the ledger")]
    Recover(#[source] RecoverError),
    /// The read models cannot be opened.
    #[error("cannot open the read models")]
    Views(#[source] ViewsError),
    /// The first operator cannot be made known.
    #[error("cannot make the first operator known")]
    Owner(#[source] SubmitError),
    /// There are no policies that could be in force (G4).
    #[error(transparent)]
    NoPolicies(#[from] NoPolicies),
    /// The policies cannot be put in force.
    #[error("cannot put the policies in force")]
    Policies(#[source] SubmitError),
    /// What is to look at runs cannot.
    #[error(transparent)]
    NoDiagnostic(#[from] NoDiagnostic),
    /// What is to look at runs cannot be made known.
    #[error("cannot make known what looks at runs that fail")]
    Offer(#[source] SubmitError),
    /// Another process has opened the ledger for writing since, although this one held it.
    #[error("another process has taken this home over")]
    TakenOver,
    /// The thread that decides ended in a panic.
    #[error("the holder failed inside; what it says of that stands above")]
    Driver,
    /// The socket, or a thread, cannot be had.
    #[error("cannot {what}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl HoldError {
    /// Whether the home is held by somebody else, who can be asked instead.
    pub fn is_held(&self) -> bool {
        matches!(self, HoldError::Open(OpenError::Held { .. }))
    }
}

/// How a home is held.
#[derive(Debug, Clone)]
pub struct HoldOptions {
    /// Settings.
    pub settings: Settings,
    /// Which program confines agents.
    pub launcher: Launcher,
    /// Whether to leave when nobody needs it.
    pub leave_when_idle: bool,
}

/// Holds a home until it is idle, or told to end by SIGTERM or SIGINT. Blocks.
pub fn hold(home: &Home, options: &HoldOptions) -> Result<(), HoldError> {
    hold_with(home, options, None)
}

/// Holds a home like [`hold`], and serves the same routes at a TCP listener besides, which nobody but this machine should
/// reach: there is no TLS. `ready` is called once, when both doors are open. Blocks.
pub fn serve(
    home: &Home,
    options: &HoldOptions,
    listener: std::net::TcpListener,
    ready: impl FnOnce() + Send + 'static,
) -> Result<(), HoldError> {
    hold_with(home, options, Some(PublicDoor { listener, ready: Box::new(ready) }))
}

/// The door over TCP.
struct PublicDoor {
    listener: std::net::TcpListener,
    ready: Box<dyn FnOnce() + Send>,
}

fn hold_with(home: &Home, options: &HoldOptions, public: Option<PublicDoor>) -> Result<(), HoldError> {
    crate::process_limits::allow_many_files();
    crate::process_limits::leave_no_core();
    let cannot = |source| HoldError::Io { what: "start the runtime", source };
    // Agents have threads of their own: however much they ask, whoever takes authority away from them does not wait behind it.
    let agents = runtime_of_agents(options.settings.agents.at_once).map_err(cannot)?;
    let doors = doors_of_agents(options.settings.agents.at_once).map_err(cannot)?;
    let people = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(READS_AT_ONCE)
        .enable_all()
        .build()
        .map_err(cannot)?;
    let result = people.block_on(work(home, options, public, agents.handle(), doors.doors.clone()));
    // Agents are dead and the driver has ended by now; whatever still blocks has nothing to say.
    people.shutdown_timeout(LAST_WORD);
    drop(doors);
    agents.shutdown_timeout(LAST_WORD);
    result
}

/// What is done for agents: a thread for each that works at once and for each command that is performed for one, and some for
/// ending what must not wait for them. Among it is what the vault is asked for them, however little it takes: what ends a token
/// there goes the same way.
pub(crate) fn runtime_of_agents(at_once: u32) -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("agents")
        .max_blocking_threads(done_at_once(at_once))
        .enable_all()
        .build()
}

/// Where agents' doors are. What an agent says is written beside them, and each agent may keep a thread waiting for its disk.
pub(crate) fn doors_of_agents(at_once: u32) -> io::Result<DoorThreads> {
    DoorThreads::start(done_at_once(at_once), LAST_WORD)
}

fn done_at_once(agents: u32) -> usize {
    let agents = usize::try_from(agents).unwrap_or(limits::AGENTS_AT_ONCE);
    agents.saturating_mul(1 + limits::PERFORMANCES_AT_ONCE).saturating_add(ENDINGS_AT_ONCE)
}

async fn work(
    home: &Home,
    options: &HoldOptions,
    public: Option<PublicDoor>,
    agents: &tokio::runtime::Handle,
    doors: Doors,
) -> Result<(), HoldError> {
    // Beside the ledger, which takes about as long.
    let root = home.root().to_owned();
    let policies = tokio::task::spawn_blocking(move || PolicyFiles::of_home(&root)?.load());
    let diagnostic =
        DiagnosticFile::of_home(home.root(), options.settings.diagnostic.file.as_deref())?.load()?;
    let mut settings = LedgerSettings::in_home(home.root());
    settings.witness_dirs.clone_from(&options.settings.ledger.witness_dirs);
    let wall = SystemClock::after(&[]).now().wall;
    let ledger = Arc::new(Ledger::open(&settings, wall, ENGINE).map_err(HoldError::Open)?);
    let tenant = Name::new(TENANT).expect("a word is a name");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::after(&moments(&ledger, &tenant)?));
    let journal = LedgerJournal::new(ledger.clone(), clock.clone());
    let policies = policies.await.map_err(|_| HoldError::Driver)??;
    let policies = Arc::new(policies);
    let core = Core::recover_with(journal, tenant.clone(), ledger.epoch(), Some(policies.clone()));
    let core = core.map_err(HoldError::Recover)?;
    let secret = home.secret()?;
    // Several homes may use one server; none of them says to it who it is.
    let vault_name = Digest::of_parts(&[&secret, b"vault"]).hex();
    let artifacts = Artifacts::at(home.artifacts());
    artifacts.remove_drafts();
    let tools = Arc::new(Tools {
        vault: Arc::new(HomeVault::new(home, &options.settings.vault, clock.clone(), &vault_name)),
        home: home.clone(),
        tenant,
        signing: SigningKey::from_bytes(Digest::of_parts(&[&secret, b"packets"]).as_bytes()),
        secret,
        launcher: options.launcher.clone(),
        expose: options.settings.sandbox.expose.clone(),
        readable_env: options.settings.environment.allow.clone(),
        artifacts,
        ledger: ledger.clone(),
        clock: clock.clone(),
        broadcast: Broadcast::default(),
        watched: Watched::default(),
        runtime: agents.clone(),
        doors,
        agents: Agents::default(),
        definitions: Mutex::default(),
        settings: options.settings.digest(),
        notices: core.unused_snapshot().map(str::to_owned).into_iter().collect(),
        head: watch::channel(core.seq()).0,
    });
    let views = Views::open(&home.views()).map_err(HoldError::Views)?;
    let models = ReadModels { views, reader: ledger.reader().map_err(HoldError::Read)? };
    let at_once = options.settings.agents.at_once;
    let (driver, handle) = Driver::new(core, at_once, clock, |handle| Performer::new(tools.clone(), handle));
    let (ended, mut driver_ended) = oneshot::channel();
    std::thread::Builder::new()
        .name("driver".to_owned())
        .spawn(move || {
            driver.run();
            // Nobody waits for it any more when the holder is leaving.
            let _ = ended.send(());
        })
        .map_err(|source| HoldError::Io { what: "start the driver", source })?;

    // Nobody waits for it: what a crash left in the vault has no authority here any more.
    let (vault, driver) = (tools.vault.clone(), handle.clone());
    let looking = tokio::spawn(async move { end_what_was_left(&vault, &driver).await });
    let result = tokio::select! {
        result = open_doors(home, options, public, &tools, &handle, models, (policies, diagnostic)) => result,
        ended = &mut driver_ended => Err(why_ended(ended)),
    };

    looking.abort();
    // First the driver, then the agents: what becomes of an agent that its holder left is not a failure of its own. The
    // next holder finds it cut off.
    let stopping = handle.clone();
    // Away from here, since its queue may be full. Should there be no thread for it, the agents end all the same.
    let _ = std::thread::Builder::new().name("stop".to_owned()).spawn(move || stopping.stop());
    end_agents(driver_ended, || tools.agents.kill_all()).await;
    result
}

/// Ends every agent once the driver has ended, or does not in time; then waits for the driver. Needs no thread of the runtime:
/// others may have taken all of them.
async fn end_agents(mut driver: oneshot::Receiver<()>, kill: impl FnOnce()) {
    // Whether it says so or just goes, it has ended; one that ended before is not asked again.
    let mut ended = driver.is_terminated();
    ended = ended || tokio::time::timeout(LAST_TURN, &mut driver).await.is_ok();
    kill();
    if !ended && tokio::time::timeout(LAST_SAVE, driver).await.is_err() {
        note("the holder leaves although what decides has not ended");
    }
}

/// Why the driver ended although nobody told it to: it can never write again, or it failed and said nothing.
fn why_ended(said: Result<(), oneshot::error::RecvError>) -> HoldError {
    said.map_or(HoldError::Driver, |()| HoldError::TakenOver)
}

async fn open_doors(
    home: &Home,
    options: &HoldOptions,
    public: Option<PublicDoor>,
    tools: &Arc<Tools>,
    handle: &Handle,
    models: ReadModels,
    (policies, diagnostic): (Arc<PolicySet>, Pipeline),
) -> Result<(), HoldError> {
    know_owner(home, handle).await?;
    put_in_force(policies, handle).await?;
    offer_diagnostic(diagnostic, handle).await?;
    settle_keys(home, handle).await?;
    let url = public.as_ref().and_then(|public| public.listener.local_addr().ok());
    let url = url.map(|address| format!("http://{address}"));
    let app = App::new(tools.clone(), handle.clone(), models, url);
    let Some(PublicDoor { listener, ready }) = public else {
        return serve_socket(home, options, &app, None).await;
    };
    let serving = Serving::begin(listener, &app)?;
    let result = serve_socket(home, options, &app, Some(ready)).await;
    serving.end().await;
    result
}

/// What runs beside the control socket while a home is served over TCP.
struct Serving {
    closes: watch::Sender<bool>,
    door: JoinHandle<()>,
    looks: JoinHandle<()>,
}

impl Serving {
    fn begin(listener: std::net::TcpListener, app: &Arc<App>) -> Result<Serving, HoldError> {
        let cannot = |source| HoldError::Io { what: "listen over TCP", source };
        listener.set_nonblocking(true).map_err(cannot)?;
        let listener = TcpListener::from_std(listener).map_err(cannot)?;
        let (closes, closing) = watch::channel(false);
        let door = tokio::spawn(public_door::serve(listener, api::routes(app.clone()), closing, LAST_CALL));
        let app = app.clone();
        let looks = tokio::spawn(async move {
            let trying = app.clone();
            let tried = move || trying.dependencies.try_confinement(&trying.tools.launcher);
            let confinement = tokio::task::spawn_blocking(tried);
            let vault = app.dependencies.look_after(&app.tools.vault);
            // Whichever is first, the other goes on.
            let _ = tokio::join!(confinement, vault);
        });
        Ok(Serving { closes, door, looks })
    }

    /// Takes no caller any more, and answers those that are there.
    async fn end(self) {
        self.looks.abort();
        self.closes.send_replace(true);
        let _ = self.door.await;
    }
}

/// Serves the control socket until the holder is told to end, or is idle and may leave then.
async fn serve_socket(
    home: &Home,
    options: &HoldOptions,
    app: &Arc<App>,
    mut ready: Option<Box<dyn FnOnce() + Send>>,
) -> Result<(), HoldError> {
    // Listened for all the time: once it has been, nothing else ends a process that is told to.
    let told = told_to_end();
    tokio::pin!(told);
    loop {
        let listener =
            bind(home).map_err(|source| HoldError::Io { what: "listen on the control socket", source })?;
        if let Some(ready) = ready.take() {
            ready();
        }
        let socket = home.socket();
        let leaving = Arc::new(Notify::new());
        let leave = leaving.clone();
        let server = axum::serve(AtPatience(listener), api::routes(app.clone()))
            .with_graceful_shutdown(async move { leave.notified().await })
            .into_future();
        tokio::pin!(server);
        let is_told = tokio::select! {
            served = &mut server => {
                return served.map_err(|source| HoldError::Io { what: "serve the control socket", source });
            }
            () = &mut told => true,
            () = idle(app, options.leave_when_idle) => false,
        };
        // A caller that comes now finds nobody and holds the home itself.
        let _ = std::fs::remove_file(socket);
        if is_told {
            return Ok(());
        }
        // Whoever was at the door already is answered; if something came of that, the holder stays. Who says nothing is
        // not waited for: the home would have no door meanwhile, and nobody else could hold it.
        leaving.notify_one();
        tokio::select! {
            _ = &mut server => {}
            () = tokio::time::sleep(LAST_CALL) => {}
            () = &mut told => return Ok(()),
        }
        if !app.is_busy() && !is_needed(app).await {
            return Ok(());
        }
    }
}

/// Settles which keys of operators are in force, should a crash have come between a decision and the file.
async fn settle_keys(home: &Home, handle: &Handle) -> Result<(), HoldError> {
    let known = handle.look(|governor| {
        let hash = |operator: &Operator| match &operator.key {
            Key::Home { hash } => Some((operator.name.clone(), *hash)),
            Key::Remote { .. } => None,
        };
        governor.operators().filter_map(hash).collect::<BTreeMap<Name, Digest>>()
    });
    let known = known.await.map_err(HoldError::Owner)?;
    Ok(home.settle_operator_keys(|name| known.get(name).copied())?)
}

/// Writes a line to `HOME/logs/holder.log`, which standard error is.
pub(crate) fn note(line: &str) {
    use std::io::Write as _;
    // A log that cannot be written has nobody to complain to.
    let _ = writeln!(io::stderr().lock(), "{} {line}", SystemClock::after(&[]).now().wall);
}

/// Whoever holds the ledger's lock is alone: a socket that lies there is a dead holder's.
fn bind(home: &Home) -> io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt as _;
    let socket = home.socket();
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(ShortPath::of(&socket)?.path())?;
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// A home's first operator becomes known when the home is first held.
async fn know_owner(home: &Home, handle: &Handle) -> Result<(), HoldError> {
    let nobody =
        handle.look(|governor| governor.operators().next().is_none()).await.map_err(HoldError::Owner)?;
    if nobody {
        let name = home.owner()?;
        let hash = Digest::of(home.operator_key(&name)?.as_bytes());
        // Whoever made the home may grant everything in it, when they say so: a run that asks for nothing is granted
        // `limits::GRANT_UNASKED` at most. Nobody else could be given more than its first operator has.
        let operator = Operator {
            name,
            role: OperatorRole::Admin,
            groups: Vec::new(),
            max_tier: Tier::T4,
            key: Key::Home { hash },
        };
        handle.ask(Event::OperatorAdded { by: None, operator }.into()).await.map_err(HoldError::Owner)?;
    }
    Ok(())
}

/// A home's policies are in force from the moment it is held.
async fn put_in_force(policies: Arc<PolicySet>, handle: &Handle) -> Result<(), HoldError> {
    let digest = policies.digest();
    let in_force =
        handle.look(|governor| governor.policies_in_force().map(|policies| policies.digest())).await;
    if in_force.map_err(HoldError::Policies)? != Some(digest) {
        let event = Event::PoliciesOffered { by: None, policies: digest };
        let offer = Input { policies: Some(policies), ..event.into() };
        handle.ask(offer).await.map_err(HoldError::Policies)?;
    }
    Ok(())
}

/// What looks at runs is known from the moment the home is held.
async fn offer_diagnostic(pipeline: Pipeline, handle: &Handle) -> Result<(), HoldError> {
    let digest = pipeline.digest();
    let known = handle.look(move |governor| governor.diagnostic() == Some(digest)).await;
    if !known.map_err(HoldError::Offer)? {
        let event = Event::DiagnosticOffered { pipeline: digest };
        let offer = Input { definition: Some(Arc::new(pipeline)), ..event.into() };
        handle.ask(offer).await.map_err(HoldError::Offer)?;
    }
    Ok(())
}

/// Waits until nothing lives and nobody calls.
async fn idle(app: &App, leave: bool) {
    loop {
        tokio::time::sleep(IDLE_CHECK).await;
        if leave && app.is_idle() && !is_needed(app).await && app.is_idle() {
            return;
        }
    }
}

/// Whether some run lives or policies wait for a second person, whom the next holder would not ask, or nobody can say: what a stopped tenant holds is known only to its ledger, and whoever asks next
/// would find its runs with nobody to go on with them.
async fn is_needed(app: &App) -> bool {
    let needed = |governor: &Governor| governor.live_runs() > 0 || governor.policies_waiting().is_some();
    app.driver.glance(needed).await.unwrap_or(true)
}

async fn told_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Moments of entries, the last one first, where ledger time goes on. The others lie twice as far back each time: however
/// long a wall clock was wrong, some of them are from before.
fn moments(ledger: &Ledger, tenant: &Name) -> Result<Vec<Moment>, HoldError> {
    let head = ledger.head(tenant).map_err(HoldError::Read)?;
    let mut found = Vec::new();
    for seq in ever_further(head) {
        let entry = match ledger.read().entry(tenant, seq) {
            // What is damaged far back stops nobody who does not need it: one moment fewer is known.
            Err(_) if seq < head => None,
            read => read.map_err(HoldError::Read)?,
        };
        found.extend(entry.and_then(|entry| Record::from_bytes(&entry.body).ok()).map(|record| record.at));
    }
    Ok(found)
}

/// The last entry, those one, three, seven and so on before it, and the first.
fn ever_further(head: u64) -> impl Iterator<Item = u64> {
    let back = (0..u64::BITS).map_while(move |step| head.checked_sub((1 << step) - 1));
    back.filter(|seq| *seq > 1).chain((head > 0).then_some(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_that_failed_is_not_taken_for_one_whose_home_was_taken_over() {
        let driver = |fails: bool| {
            let (ended, from) = oneshot::channel();
            let thread = std::thread::spawn(move || {
                assert!(!fails, "a bug");
                let _ = ended.send(());
            });
            assert_eq!(thread.join().is_err(), fails);
            why_ended(from.blocking_recv())
        };
        assert!(matches!(driver(true), HoldError::Driver));
        assert!(matches!(driver(false), HoldError::TakenOver));
    }

    #[tokio::test(start_paused = true)]
    async fn g2_agents_are_ended_also_when_the_driver_never_is() {
        use std::cell::Cell;
        let killed = Cell::new(0);
        let kill = || killed.set(killed.get() + 1);
        // It has ended: in time, by itself before, or in a panic.
        let (ended, driver) = oneshot::channel();
        ended.send(()).unwrap();
        end_agents(driver, kill).await;
        let (ended, mut driver) = oneshot::channel();
        ended.send(()).unwrap();
        (&mut driver).await.unwrap();
        end_agents(driver, kill).await;
        end_agents(oneshot::channel().1, kill).await;
        assert_eq!(killed.get(), 3);
        let (never, driver) = oneshot::channel();
        end_agents(driver, kill).await;
        assert_eq!(killed.get(), 4);
        drop(never);
    }

    #[test]
    fn moments_are_looked_for_ever_further_back() {
        let places = |head| ever_further(head).collect::<Vec<_>>();
        assert_eq!((places(0), places(1), places(2)), (vec![], vec![1], vec![2, 1]));
        assert_eq!(places(20), [20, 19, 17, 13, 5, 1]);
        assert!(places(u64::MAX).len() <= 65);
    }
}
