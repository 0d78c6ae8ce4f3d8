//! Runs a command in a cage over the current folder and says what held it:
//! `cargo run -p eparch-sandbox --example cage -- sh -c 'id; ls; touch new'`.

use std::io;
use std::process::ExitCode;
use std::thread;

use eparch_domain::{Name, Span};
use eparch_sandbox::{Cage, CageSpec, Exit, LAUNCHER_WORD, Launcher, Program, Sandbox, launcher_main};

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1).peekable();
    if args.next_if(|first| first == LAUNCHER_WORD).is_some() {
        return Ok(launcher_main(args));
    }
    let mut argv =
        args.map(|word| word.into_string()).collect::<Result<Vec<_>, _>>().map_err(|_| "not UTF-8")?;
    if argv.is_empty() {
        argv = ["sh", "-c", "id; pwd; ls -A"].map(Into::into).into();
    }
    let spec = CageSpec {
        sandbox: Sandbox::BestEffort,
        project: Some(std::env::current_dir()?),
        ..CageSpec::new(Name::new("example")?)
    };
    let cage = Cage::open(&spec, &Launcher::this_program())?;
    for measure in cage.measures() {
        eprintln!("{measure}");
    }
    let mut running = cage.start(&Program::new(argv))?;
    let (out, err) = (running.take_stdout(), running.take_stderr());
    let copies = [
        thread::spawn(move || out.map(|mut out| io::copy(&mut out, &mut io::stdout()))),
        thread::spawn(move || err.map(|mut err| io::copy(&mut err, &mut io::stderr()))),
    ];
    let ended = running.wait()?;
    for copy in copies {
        drop(copy.join());
    }
    eprintln!("{ended:?}");
    cage.close(Span::from_secs(2))?;
    Ok(match ended.exit {
        Exit::Code(code) => ExitCode::from(u8::try_from(code)?),
        Exit::Signal(_) => ExitCode::FAILURE,
    })
}
