//! Every number of Eparch, once, with its reason and the row it comes from. Settings may tighten most of them; nothing
//! elsewhere spells one out.

use crate::span::Span;
use crate::tier::Tier;

// ── authority ─────────────────────────────────────────────────────────────────────────────────────────────────────

/// What a run is granted at most when nobody says `--tier`: enough to change what it is given (1.3-a), not to deploy it.
/// Past that, somebody who may has to say so.
pub const GRANT_UNASKED: Tier = Tier::T2;

// ── time ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/// A run's lease (R134).
pub const LEASE_TTL: Span = Span::from_hours(2);
/// How often a lease is renewed (R135).
pub const LEASE_RENEW_EVERY: Span = Span::from_mins(30);
/// An agent's own token, unless something shorter is asked for (X15); it is renewed while the agent works.
pub const CHILD_TTL: Span = Span::from_mins(30);
/// For how long an attempt holds its locks unless they are renewed (R353). Ten times what a ledger that is slow and a
/// machine that is busy may take together, so that nobody loses a lock who only waited; short enough that whoever waits
/// for a holder of which nothing is heard need not wait for a person.
pub const LOCK_TTL: Span = Span::from_mins(5);
/// How often they are renewed: two renewals may fail to happen. Each is an entry of the ledger.
pub const LOCK_RENEW_EVERY: Span = Span::from_secs(100);
/// Of those that wait for locks, so many at once are told anew whom they wait for: a thousand that wait for one name would
/// be a thousand facts each time it changes hands.
pub const LOCK_WAITERS_TOLD: usize = 32;
/// The shortest life of a token or a wrapping: servers count in whole seconds.
pub const VAULT_TTL_MIN: Span = Span::from_secs(1);
/// The longest that something stays wrapped: handing a secret on takes seconds, and what lies about is found.
pub const VAULT_WRAP_TTL: Span = Span::from_mins(5);
/// What was asked of a vault and not done is asked again after so long, and after twice as long each time…
pub const VAULT_RETRY: Span = Span::from_secs(1);
/// … but at least so often.
pub const VAULT_RETRY_MAX: Span = Span::from_secs(60);
/// What a vault refuses outright is asked for again at least so often: four times within the two hours that the longest token
/// has left ([`LEASE_TTL`]), so that what somebody mends meanwhile helps.
pub const VAULT_OWED_RETRY_MAX: Span = Span::from_mins(30);
/// How long connecting to a vault's server may take, TLS included, unless set otherwise. A dead backend is to show within
/// 5 s.
pub const VAULT_CONNECT_TIMEOUT: Span = Span::from_secs(2);
/// How long a request to a vault's server may take in all, unless set otherwise.
pub const VAULT_TIMEOUT: Span = Span::from_secs(4);
/// How long a dependency that failed too often is left alone at first (R268). A restart takes seconds; whoever needs it is told
/// meanwhile, at once.
pub const BREAKER_OPEN: Span = Span::from_secs(1);
/// The longest it is left alone: what is well again after an hour away is noticed within half a minute. (The origin's longest is
/// an hour, for agents that misbehave, 1.3-l.)
pub const BREAKER_OPEN_MAX: Span = Span::from_secs(30);
/// How often dependencies are looked at: one that is down shows within 5 s, two looks and what the slower takes (R267).
pub const HEALTH_EVERY: Span = Span::from_secs(2);
/// Without progress for so long, a council calls a mediator (R164, X01).
pub const MEDIATE_AFTER: Span = Span::from_secs(30);
/// Without progress for so long, an agent loses its own token (R081, X01).
pub const REVOKE_AFTER: Span = Span::from_secs(60);
/// How often an agent is expected to say that it lives (1.3-a).
pub const HEARTBEAT_EVERY: Span = Span::from_secs(30);
/// Three missed heartbeats are a finding (R152, 2.C rule 3).
pub const HEARTBEATS_MISSED: Span = Span::from_secs(90);
/// How long orchestration may take (R177).
pub const ORCHESTRATION_TIMEOUT: Span = Span::from_secs(120);
/// How far two clocks may disagree (2.C rule 4); a larger jump of the wall clock is an event.
pub const CLOCK_SKEW: Span = Span::from_secs(2);
/// A ledger that cannot be written for so long denies (G1).
pub const LEDGER_WRITE_DEADLINE: Span = Span::from_secs(2);
/// A ledger that failed is tried again after so long, and after twice as long each time…
pub const LEDGER_RETRY: Span = Span::from_millis(250);
/// … but at least so often: a disk that is well again is noticed before anybody has to say so.
pub const LEDGER_RETRY_MAX: Span = Span::from_secs(5);
/// A pipeline without a `timeout` of its own. The seeds' example uses 30 m; a day lets an unattended gate be answered
/// by the next morning's shift.
pub const PIPELINE_TIMEOUT: Span = Span::from_hours(24);
/// A stage without a `timeout` of its own; the lease's length, past which an agent's authority would have ended anyway.
pub const STAGE_TIMEOUT: Span = Span::from_hours(2);
/// How long an agent may take from being decided on to being ready to execute. Setting up confinement takes tens of
/// milliseconds; a minute allows for a loaded machine.
pub const START_TIMEOUT: Span = Span::from_secs(60);
/// A gate without a `timeout` of its own.
pub const GATE_TIMEOUT: Span = Span::from_hours(24);
/// From SIGTERM to SIGKILL of an agent's process tree (R204: nothing is alive 2 s after a stop).
pub const KILL_GRACE: Span = Span::from_millis(1_000);
/// A tree that would not die is killed again after so long, and after twice as long each time…
pub const RELEASE_RETRY: Span = Span::from_secs(1);
/// … but at least so often.
pub const RELEASE_RETRY_MAX: Span = Span::from_secs(60);
/// From asking that an agent be dead to asking again, when nothing was reported: `KILL_GRACE` and what the kernel takes to
/// end a large tree on a loaded machine are well within it.
pub const GONE_AFTER: Span = Span::from_secs(15);
/// That wait doubles with each time it was asked in vain, up to this: a tree that no signal ends, as on a file system that
/// is away, is looked at every few minutes for as long as it stands.
pub const GONE_AFTER_MAX: Span = Span::from_mins(4);
/// The base of the backoff between two attempts, doubled each time.
pub const RETRY_BACKOFF: Span = Span::from_secs(5);
/// No backoff grows past this.
pub const RETRY_BACKOFF_MAX: Span = Span::from_mins(10);
/// How long a request to an agent's own listener may take to arrive and to be answered, headers and body each; whoever is
/// slower holds a place that others want.
pub const AGENT_REQUEST_TIMEOUT: Span = Span::from_secs(10);
/// How long an agent whose end is decided may still be answered what was decided before: the end of its authority takes
/// effect within this time at the latest, also for a call in flight (F7).
pub const AGENT_LAST_ANSWER: Span = Span::from_millis(100);
/// How long whoever is sent something may take nothing of it: longer than a terminal is held up to read what it shows, and short
/// enough that who was suspended or has hung holds no place, and keeps no holder from leaving, for long. Streams are gone on with
/// from where they were.
pub const READER_TAKES_WITHIN: Span = Span::from_mins(1);
/// How long a second Ctrl-C waits for the first to have asked the run to end: a commit takes two seconds at most (G1), and a holder
/// that has to begin takes as much again.
pub const STOP_IS_ASKED_WITHIN: Span = Span::from_secs(5);
/// How long one `verify` command may take.
pub const VERIFY_TIMEOUT: Span = Span::from_mins(5);
/// A holder that nobody uses leaves after this long.
pub const HOLDER_IDLE: Span = Span::from_secs(5);
/// A checkpoint is signed at least so often while entries are written (architecture, Ledger).
pub const CHECKPOINT_EVERY: Span = Span::from_secs(1);

// ── counts ────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Errors an agent may make in all; the next one exceeds its budget (R197).
pub const MAX_TOTAL_ERRORS: u32 = 8;
/// Repeats of one error (R198, X14).
pub const MAX_SAME_ERROR_REPEATS: u32 = 2;
/// Violations of procedure (R199).
pub const MAX_PROCEDURE_VIOLATIONS: u32 = 1;
/// Errors of a run a minute; strictly more revoke whoever makes them (R080, X13).
pub const ERRORS_PER_MINUTE: u32 = 5;
/// Runs that look at others at once (R089): one machine's agents may all fail for one reason, and eight reports say it.
pub const DIAGNOSTICS_AT_ONCE: usize = 8;
/// Entries of the ledger that are read for what looks at a run: the last minutes of a busy home, in half a second.
pub const HANDOFF_ENTRIES: u64 = 10_000;
/// Errors, violations, denials and findings each that are handed over: a person reads no more.
pub const HANDOFF_ITEMS: usize = 200;
/// Captured lines that are handed over.
pub const HANDOFF_LINES: usize = 400;
/// How much of the end of each log is read for them.
pub const HANDOFF_LOG_BYTES: u64 = 256 << 10;
/// The longest text of one thing that is handed over.
pub const HANDOFF_TEXT_BYTES: usize = 2_048;
/// Calls a minute; strictly more are refused (R083).
pub const CALLS_PER_MINUTE: u32 = 100;
/// So many minutes in which an agent's calls had to be limited, within [`LIMITED_WITHIN`], and it is revoked (R083, 1.4).
pub const LIMITED_WINDOWS: usize = 3;
/// See [`LIMITED_WINDOWS`].
pub const LIMITED_WITHIN: Span = Span::from_mins(10);
/// Proposals that conflict (R165).
pub const CONFLICTING_PROPOSALS: u32 = 3;
/// Complexity above this asks for a mediator (R166).
pub const COMPLEXITY: f64 = 0.8;
/// Automatic recoveries of a run (R196).
pub const MAX_RECOVERIES: u32 = 3;
/// So many failures in a row open a dependency's breaker (R268).
pub const BREAKER_FAILURES: u32 = 5;
/// Retries of one stage that may be asked for: past twenty a pipeline hides a fault instead of riding one out.
pub const MAX_RETRIES: u32 = 20;

/// A stage whose attempts are cut off more often than this is what cuts them off (a dead letter, as others call it).
pub const MAX_INTERRUPTIONS: u32 = 200;
/// Runs alive at once in one tenant: what the governor keeps in memory is bounded by it.
pub const LIVE_RUNS: usize = 100_000;
/// Ended runs, answered gates and used keys are remembered so long, to give a late question a good answer.
pub const REMEMBERED: usize = 10_000;
/// Definitions kept at hand although no live run uses them.
pub const IDLE_DEFINITIONS: usize = 256;
/// Deadlines that one decision looks at, at most, so that it stays small after a long sleep; the next one takes the rest.
pub const TIMERS_PER_TURN: usize = 256;

// ── sizes: nothing that an agent, a file or a request can grow is without an end ──────────────────────────────────

/// A pipeline file.
pub const PIPELINE_BYTES: usize = 1 << 20;
/// How deeply a pipeline's YAML, and its stages, may nest.
pub const PIPELINE_DEPTH: usize = 32;
/// Stages of one pipeline, nested ones included: ten times the largest workflow a peer's limits allow per page.
pub const PIPELINE_STAGES: usize = 1_000;
/// Inputs of one pipeline.
pub const PIPELINE_INPUTS: usize = 100;
/// Expressions of one pipeline; reading one takes up to a tenth of a millisecond.
pub const PIPELINE_EXPRESSIONS: usize = 10_000;
/// One input's or output's value, as text.
pub const VALUE_BYTES: usize = 64 << 10;
/// How deeply a value may nest: results for people and expressions stay far below, and a record that holds one can be read
/// back, which a JSON reader does up to 127 levels.
pub const VALUE_DEPTH: usize = 32;
/// Everything the stages of one run have put out together, outputs and the names of files, as it is written down. Results
/// for expressions and people are far smaller; a run that is repeated takes all of it over in one entry of the ledger,
/// which tells of it twice, and each gate looks at all of it.
pub const RUN_OUTPUTS_BYTES: usize = 16 << 20;
/// Outputs of one stage.
pub const STAGE_OUTPUTS: usize = 256;
/// Artifacts of one stage.
pub const STAGE_ARTIFACTS: usize = 256;
/// An expression: the expression library's own error display fails past 65,535 columns; 4 KiB is far more than anybody
/// reads (engines.md 6).
pub const EXPRESSION_BYTES: usize = 4 << 10;
/// How deeply macros (`all`, `exists`, `map` …) may nest in an expression: each level multiplies its cost by the length
/// of a list.
pub const EXPRESSION_MACROS: usize = 2;
/// How many operators, selections and brackets of an expression may nest in one another: the expression library overflows
/// a thread's stack, which nothing can catch, from about fifty on.
pub const EXPRESSION_DEPTH: usize = 96;
/// Nodes that the loops of one evaluation, or of several that share their fuel, may visit: about half a second.
pub const EXPRESSION_WORK: u64 = 500_000;
/// Bytes of a value that are compared, searched or copied in the time of one such node; a number counts as sixteen.
pub const EXPRESSION_NODE_BYTES: u64 = 256;
/// Bytes that one evaluation may bring into being on its way to a value of at most [`VALUE_BYTES`].
pub const EXPRESSION_MADE_BYTES: u64 = 4 << 20;
/// Nodes after which one decision evaluates nothing more and begins nothing more: the next one does. Together with
/// [`EXPRESSION_WORK`], which the last one begun may still take, less than a second, so that a stop, an answer at a gate or
/// a deadline never waits long (G1 allows two).
pub const TURN_WORK: u64 = 500_000;
/// What one decision writes down of agents it begins, and of deadlines it keeps, before it begins nothing more: the next
/// one does. With the largest attempt, which may come last, and with all that a request may bring, an entry of the ledger
/// stays below what it may be; an ordinary attempt takes two or three KiB.
pub const TURN_BYTES: usize = 4 << 20;
/// What a fact about a stage or an agent takes when it is written down, and the effect it leads to: so much is counted for
/// each that a deadline leads to.
pub const FACT_BYTES: usize = 256;
/// Everything an attempt is told that is written in its stage, expressions filled in: a sandbox takes messages of 1 MiB,
/// and the run's inputs need room in it, too.
pub const ATTEMPT_TEXT_BYTES: usize = 512 << 10;
/// Actions that a stage names beside its paths, tools and secrets: a person reads and approves them.
pub const STAGE_ACTIONS: usize = 64;
/// Locks of one stage. All are taken at once: a stage that needs more of them works on everything there is, and one name
/// for that is clearer.
pub const STAGE_LOCKS: usize = 16;
/// Words of one command.
pub const COMMAND_WORDS: usize = 256;
/// Bytes of one command in all; the kernel's own limit for one word is 128 KiB.
pub const COMMAND_BYTES: usize = 64 << 10;
/// One captured line; the rest is cut and marked.
pub const LOG_LINE_BYTES: usize = 8 << 10;
/// Captured lines of one attempt; later ones are counted, not kept.
pub const LOG_LINES: usize = 100_000;
/// Bytes of the log of one attempt, as it is kept; later lines are counted, not kept. The log of a large build has some ten
/// megabytes, and a hundred agents at once must not fill a disk.
pub const LOG_BYTES: u64 = 64 << 20;
/// What an agent may append to `EPARCH_OUTPUT`.
pub const OUTPUT_FILE_BYTES: u64 = 1 << 20;
/// One artifact.
pub const ARTIFACT_BYTES: u64 = 256 << 20;
/// All artifacts of one attempt: as much as a workspace holds. Their lengths count, not what they take: a file with holes
/// is long and takes nothing, until it is copied.
pub const STAGE_ARTIFACTS_BYTES: u64 = WORKSPACE_BYTES;
/// A process agent's workspace, held in memory by the kernel.
pub const WORKSPACE_BYTES: u64 = 512 << 20;
/// Files in a process agent's workspace.
pub const WORKSPACE_INODES: u64 = 65_536;
/// Processes and threads of one agent: enough for a parallel build on a large machine, far from a fork bomb.
pub const AGENT_PROCESSES: u64 = 512;
/// Memory of one agent beside its workspace: what a linker or a JavaScript bundler of a large project takes. Past it the
/// agent is ended, and not whatever else the machine does.
pub const AGENT_MEMORY_BYTES: u64 = 4 << 30;
/// Open files of one process of an agent.
pub const AGENT_OPEN_FILES: u64 = 1_024;
/// Connections an agent may have to its own listener at once: far more than one client needs, and few enough that all
/// agents together leave the holder its own.
pub const AGENT_CONNECTIONS: usize = 16;
/// A request to an agent's own listener, or to the holder.
pub const REQUEST_BYTES: usize = 1 << 20;
/// An agent's own code for an error of its doing, in characters; what is longer is cut.
pub const ERROR_CODE_CHARS: usize = 64;
/// A request's idempotency key: a digest or an id of any other system fits, a document does not.
pub const IDEMPOTENCY_KEY_BYTES: usize = 256;
/// The path of a project's folder: the longest that Linux opens.
pub const ROOT_BYTES: usize = 4 << 10;
/// The inputs of one run together, and as much again of the environment its expressions read. Every agent that is made
/// ready is told all inputs: sixteen are made ready in one decision when there are so many ([`TURN_BYTES`]).
pub const RUN_INPUTS_BYTES: usize = 256 << 10;
/// A rationale, or the reason for which a run is ended.
pub const RATIONALE_BYTES: usize = 4 << 10;
/// The groups of an operator as they are written down: sixty names as long as a name may be.
pub const OPERATOR_GROUPS_BYTES: usize = 4 << 10;
/// How much of the reason for which a run is ended is repeated with each of its stages.
pub const STAGE_REASON_BYTES: usize = 256;
/// Where a secret lies, as text: several parts of a readable length.
pub const VAULT_PATH_BYTES: usize = 256;
/// One version of a secret, names and texts: a certificate chain with its key takes ten KiB.
pub const VAULT_SECRET_BYTES: usize = 64 << 10;
/// Fields of one secret.
pub const VAULT_SECRET_FIELDS: usize = 64;
/// Versions of one secret that the embedded vault keeps, as servers do when nobody says otherwise (KV version 2).
pub const VAULT_SECRET_VERSIONS: usize = 10;
/// Secrets in the embedded vault.
pub const VAULT_SECRETS: usize = 10_000;
/// Tokens alive in the embedded vault: 64 agents at once, their runs, and a hundredfold for what waits to be renewed.
pub const VAULT_TOKENS: usize = 10_000;
/// Wrapped secrets that wait to be taken in the embedded vault.
pub const VAULT_WRAPS: usize = 1_000;
/// Tokens that are over and of which the embedded vault still says how they ended.
pub const VAULT_REMEMBERED: usize = 1_000;
/// The embedded vault's file. It is written as a whole with every change.
pub const VAULT_STORE_BYTES: usize = 16 << 20;
/// A vault's policy file.
pub const VAULT_POLICY_BYTES: usize = 64 << 10;
/// Paths of one policy file.
pub const VAULT_POLICY_PATHS: usize = 1_000;
/// An answer of a vault's server: a list of accessors of a hundred thousand tokens fits.
pub const VAULT_ANSWER_BYTES: usize = 4 << 20;
/// Tokens of a vault's server that are looked at for those of Eparch's runs.
pub const VAULT_ACCESSORS: usize = 100_000;
/// Tokens found in a vault that one entry tells: what a crash leaves is a few, and an entry stays a few hundred KiB.
pub const CREDENTIALS_FOUND: usize = 1_000;
/// Tokens that were found in a vault and are to end there, at most: a server that says more of them than all homes of a year
/// leave behind makes no home remember them. The others are found again.
pub const CREDENTIALS_TO_END: usize = 10_000;
/// Tokens of a vault that are ended at once, and as many that are renewed: as many connections as are kept.
pub const CREDENTIALS_AT_ONCE: usize = VAULT_CONNECTIONS;
/// Idle connections to a vault's server that are kept.
pub const VAULT_CONNECTIONS: usize = 8;
/// Agents working at once in one home, when nothing else is configured; each has a process tree and a workspace.
pub const AGENTS_AT_ONCE: usize = 64;
/// Connections to the API over TCP at once; others wait to be taken. Each costs a task and some tens of kilobytes.
pub const API_CONNECTIONS: usize = 1_024;
/// Events waiting for the driver; a sender past this waits.
pub const DRIVER_QUEUE: usize = 4_096;
/// Entries in one commit: a batch that takes longer than a commit itself helps nobody (engines.md 7.1).
pub const COMMIT_BATCH: usize = 512;
/// What came for a commit waits so long at most for what else comes, looks included: about what a commit takes.
pub const COMMIT_GATHER: Span = Span::from_millis(5);

/// Files of one folder of policies: one a team, and room.
pub const POLICY_FILES: usize = 256;
/// One file of policies: twenty thousand of the usual two hundred bytes.
pub const POLICY_FILE_BYTES: usize = 4 << 20;
/// One policy, its annotations included: people read it.
pub const POLICY_BYTES: usize = 8 << 10;
/// How deeply the brackets of a policy may nest: Cedar's parser overflows a stack of 2 MiB, which nothing can catch, from
/// some hundred on.
pub const POLICY_NESTING: usize = 32;
/// Codes of errors that an agent's budget tells apart; what has another counts in the total alone.
pub const ERROR_CODES: usize = 64;
/// A policy's `@id`, in bytes: it stands in every verdict that it decides.
pub const POLICY_ID_BYTES: usize = 128;
/// A policy's `@reason`, in bytes: a code, and no sentence.
pub const POLICY_REASON_BYTES: usize = 64;
/// A policy's `@unlock`, in bytes: one line that people read.
pub const POLICY_UNLOCK_BYTES: usize = 512;
/// Policies of one set: twice what performance.md measures. Cedar keeps about 12 KB of each.
pub const POLICIES: usize = 20_000;
/// Questions whose verdicts a set of policies remembers, a digest and a verdict each; the older half goes when there are more. No
/// figure stands behind it: what is forgotten is asked again.
pub const VERDICTS_REMEMBERED: usize = 4_096;
/// The name of what a request is about: the longest path that Linux opens.
pub const RESOURCE_BYTES: usize = 4 << 10;
/// Parts of such a name; each is a group that a policy can name, and is looked up.
pub const RESOURCE_PARTS: usize = 64;
/// Facts about what a run has done that one decision is told. More than that is denied: what is not told must not pass as
/// not done.
pub const HISTORY_FACTS: usize = 256;
/// One such fact: an action's name and as much of what it was done to as tells them apart.
pub const HISTORY_FACT_BYTES: usize = 512;
/// Ended runs of which it is remembered what was done in them, for those that repeat them in part: 64 MiB at the very most, and
/// mostly some kilobytes each. Of any other nobody knows what was done, and everything is denied to whoever goes on with it.
pub const HISTORIES_REMEMBERED: usize = 512;
/// How long a permit may be used: time to begin what was asked for, not to forget it in (a value of ours).
pub const PERMIT_TTL: Span = Span::from_secs(60);
/// People through whose hands a key may have come whose names are remembered (G5): the makers of makers, of which homes have
/// two or three. Where there are more it may be anybody's.
pub const KEY_HANDS: usize = 32;
/// People who could have looked at policies and were removed, or given other keys, while one holder lived, of whom it is remembered
/// who may have held their keys (G5). Where there were more, nobody's policies wait for another person before the next holder.
pub const LOOKERS_REMEMBERED: usize = 64;
/// The longest that people may let pass what policy denies: an emergency that takes longer is asked for again (a value of
/// ours).
pub const BREAK_GLASS_TIME: Span = Span::from_hours(1);
/// How long a request for that waits for a second person: who is not there by then is not at this emergency.
pub const BREAK_GLASS_WAIT: Span = Span::from_mins(15);
/// Such requests that wait or are granted at once in one tenant. Each is looked at with every decision.
pub const BREAK_GLASS_AT_ONCE: usize = 8;
/// Actions that one of them names: more is not a few things in an emergency but another tier.
pub const BREAK_GLASS_ALLOWS: usize = 16;
/// Those that are over and are still shown; the ledger has every one.
pub const BREAK_GLASS_REMEMBERED: usize = 64;
/// Permits of one agent that are not used, or whose result is not known: nobody does more at once, and each is one thing
/// that may still happen.
pub const OPEN_PERMITS: usize = 16;
/// Questions of one agent that wait for people, or whose approval it has not come back for: people have other things to read.
pub const OPEN_QUESTIONS: usize = 4;
/// Things that people said no to in one run, and that nobody is asked about again in it. None of them is forgotten: where one
/// more could not be remembered nobody is asked for anything. Whoever has said no so often wants the run to end (2.C names no
/// number; ours).
pub const DENIALS_REMEMBERED: usize = 64;
/// How long policies wait for a second person; as long as a gate.
pub const POLICIES_WAIT: Span = GATE_TIMEOUT;
/// The arguments of an action as people are shown them, in bytes: some pages, and what is more nobody reads at a gate. Larger
/// ones are known by their digest alone, and no command is performed on the strength of an approval of that.
pub const ARGUMENTS_SHOWN_BYTES: usize = 16 << 10;
/// Policy is tried with so many approvals, from one on, to find how many an action takes; what ships asks for two at most.
pub const ACTION_APPROVALS: u16 = 4;
/// How long an agent is kept waiting for people in one call: half of what a call may take, so that it is never cut off.
pub const QUESTION_WAIT: Span = Span::from_secs(5);
/// Actions of one agent whose answer is remembered by its key; the oldest that is over is forgotten first.
pub const ACTIONS_REMEMBERED: usize = 64;
/// Asking for the same again so often after it was denied is a violation (1.4: "at the third repeat of the same denied
/// request").
pub const DENIED_REPEATS: u32 = 3;
/// Different denied requests of one agent that are counted apart; the rest is counted together.
pub const DENIED_KINDS: usize = 64;
/// Standings that are remembered. Each takes some three hundred bytes, and a home has as many as it has kinds of agents; of
/// those that nothing was earned or done wrong under, the one that was not heard of for longest is forgotten first.
pub const STANDINGS: usize = 10_000;
/// How long a violation stands against a promotion up to T3 (1.3-b: `max_violations_30d`).
pub const VIOLATIONS_COUNT: Span = Span::from_hours(30 * 24);
/// How long it stands against a promotion to T4 (1.8: "0 in 90 d").
pub const VIOLATIONS_COUNT_T4: Span = Span::from_hours(90 * 24);
/// What an agent says came of an action, in bytes.
pub const ACTION_DETAIL_BYTES: usize = 1 << 10;
/// Commands that are performed for one agent at once, each in a cage of its own with the memory and processes of an agent's:
/// one that works and one that looks on.
pub const PERFORMANCES_AT_ONCE: usize = 2;
/// How long a command may be performed, if its agent has so long: twice what a check may take ([`VERIFY_TIMEOUT`]), as it
/// changes what a check only looks at (a value of ours).
pub const PERFORMANCE_TIMEOUT: Span = Span::from_mins(10);
/// What is told of the output of a command that was performed, of each of its two streams: the beginning. All of it is in the
/// agent's log.
pub const PERFORMANCE_OUTPUT_BYTES: usize = 64 << 10;
/// Places in a folder that policies name, and that are asked about before the folder is opened to a command: at some ten
/// microseconds each, a few milliseconds.
pub const PLACES_ASKED_ABOUT: usize = 256;
/// Performances of one agent that are over, and of which what came of them can still be asked.
pub const PERFORMANCES_REMEMBERED: usize = 8;
/// How long a call waits for the end of a performance before it is answered that it goes on: well within
/// [`AGENT_REQUEST_TIMEOUT`], and so rarely asked again that calls are not limited for it ([`CALLS_PER_MINUTE`]).
pub const PERFORMANCE_WAIT: Span = Span::from_secs(5);
/// Cases of one file of policy tests.
pub const POLICY_CASES: usize = 10_000;

// ── places (R028–R030) ────────────────────────────────────────────────────────────────────────────────────────────

/// Where a state store is looked for when none is named (R028).
pub const DEFAULT_REDIS_HOST: &str = "127.0.0.1";
/// The port of a state store when none is named (R028).
pub const DEFAULT_REDIS_PORT: u16 = 6379;
/// There is no default password: it comes from the secret provider, then the environment, or is refused (R029, X17).
pub const DEFAULT_REDIS_PASSWORD: Option<&str> = None;
/// The ledger, inside the home (R030).
pub const DEFAULT_LEDGER_PATH: &str = "journal.db";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x33_the_time_rules_are_in_order() {
        assert!(
            MEDIATE_AFTER < REVOKE_AFTER
                && REVOKE_AFTER < ORCHESTRATION_TIMEOUT
                && ORCHESTRATION_TIMEOUT < LEASE_TTL
        );
        assert!(LEASE_RENEW_EVERY < LEASE_TTL);
        assert!(LOCK_RENEW_EVERY.millis() * 3 <= LOCK_TTL.millis() && CLOCK_SKEW < LOCK_RENEW_EVERY);
    }

    #[test]
    fn r029_there_is_no_default_password() {
        assert_eq!(DEFAULT_REDIS_PASSWORD, None);
    }
}
