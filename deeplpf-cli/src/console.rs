//! What the user sees: results on stdout, errors and notes on stderr.

use std::io::{self, ErrorKind, Write};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use deeplpf_data::atomic_file;

/// Prints to stdout. A reader that has gone away (`| head`) is no error: files still get written.
///
/// # Errors
/// Any other failure, e.g. stdout redirected to a full disk.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}

/// Prints `error: ` and the error as one sentence to stderr.
pub fn error(error: &anyhow::Error) {
    to_stderr(&format!("error: {}", sentence(error)));
}

/// Prints `note: ` and a remark that changes nothing about the result to stderr.
pub fn note(text: &str) {
    to_stderr(&format!("note: {text}"));
}

/// Prints what is being done to stderr.
pub fn progress(text: &str) {
    to_stderr(text);
}

/// Exit status of a program that was interrupted: 128 and the signal's number, as shells have it.
pub const INTERRUPTED: u8 = 130;

/// From now on an interruption (Ctrl-C, or being asked to end) removes the files that are just being
/// written and ends the program.
///
/// # Errors
/// The system's.
pub fn exit_cleanly_when_interrupted() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        atomic_file::remove_unfinished();
        error(&anyhow!("interrupted; every result that is there is whole"));
        std::process::exit(INTERRUPTED.into());
    })
    .context("interruptions cannot be handled")
}

/// Interruptions that come so soon after one another are one: schedulers send theirs to every process
/// of a job, so that it arrives from the job's script as well.
const ONE_INTERRUPTION: Duration = Duration::from_secs(1);

/// From now on the first interruption (Ctrl-C, or being asked to end) sets the flag that is returned,
/// so that the work can be saved, and says so if `tell`; one that comes more than a second after it
/// removes the files that are just being written and ends the program at once.
///
/// # Errors
/// The system's.
pub fn remember_interruptions(tell: bool) -> anyhow::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = flag.clone();
    let (mut first, mut said) = (None, false);
    ctrlc::set_handler(move || {
        set.store(true, Ordering::Relaxed);
        if first.get_or_insert_with(Instant::now).elapsed() > ONE_INTERRUPTION {
            atomic_file::remove_unfinished();
            error(&anyhow!("interrupted at once; what was saved before is whole"));
            std::process::exit(INTERRUPTED.into());
        }
        if tell && !said {
            said = true;
            progress("interrupted: saving after this step (again, a second later: end at once)");
        }
    })
    .context("interruptions cannot be handled")?;
    Ok(flag)
}

fn to_stderr(line: &str) {
    // There is nowhere left to say that stderr is closed.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// The chain of causes joined by colons, without causes that the message before already tells, and
/// a remedy where the operating system refused something. The libraries' sentences carry their
/// remedy behind a semicolon.
fn sentence(error: &anyhow::Error) -> String {
    let mut sentence = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !sentence.contains(&cause) {
            sentence = format!("{sentence}: {cause}");
        }
    }
    let refused = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
    match refused.and_then(|refused| remedy(refused.kind())) {
        Some(remedy) if !sentence.contains("; ") => format!("{sentence}; {remedy}"),
        _ => sentence,
    }
}

fn remedy(refused: ErrorKind) -> Option<&'static str> {
    Some(match refused {
        ErrorKind::NotFound => "check the name and that its folder exists",
        ErrorKind::NotADirectory => "a part of this path is a file; check the name",
        ErrorKind::AlreadyExists => "a file is in the way; choose another place",
        ErrorKind::IsADirectory => "this is a folder; give a file",
        ErrorKind::PermissionDenied => "check that you may read and write there",
        ErrorKind::ReadOnlyFilesystem => "choose another place",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            "free some space or choose another place"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once() {
        let error = anyhow::anyhow!("no space").context("a.png was not written: no space");
        assert_eq!(sentence(&error), "a.png was not written: no space");
        assert_eq!(sentence(&error.context("b")), "b: a.png was not written: no space");
    }

    #[test]
    fn what_the_system_refuses_has_a_remedy() {
        let full = || io::Error::from(ErrorKind::StorageFull);
        let told = sentence(&anyhow::Error::new(full()).context("cannot write a.png"));
        assert!(told.starts_with("cannot write a.png: "), "{told}");
        assert!(told.ends_with("; free some space or choose another place"), "{told}");
        // A sentence that has one keeps its own.
        let own = anyhow::Error::new(full()).context("a.png was not written; buy a disk");
        assert!(!sentence(&own).contains("choose another place"));
    }
}
