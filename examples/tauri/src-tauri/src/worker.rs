//! The worker, owned by the app's Rust side: started, always drained, brought to its end with the app.
//!
//! Knows nothing of Tauri, so that it can be tested without: `rustc --edition 2021 --test src/worker.rs`.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{channel, Sender};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// What the process says, in order; `Ended` comes once and last.
pub enum Event {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    Ended(Option<ExitStatus>),
}

/// One process. Dropping it closes its stdin, at which it ends.
pub struct Worker {
    child: Arc<Mutex<Child>>,
    input: Mutex<Option<Sender<String>>>,
    ended: Arc<(Mutex<bool>, Condvar)>,
}

/// Where the worker is: a bundle among the app's resources in an app that is shipped (tauri.bundle.conf.json), before that
/// the launcher beside the app (`externalBin` in tauri.conf.json).
pub fn place(resources: &Path, executable: &Path) -> PathBuf {
    let bundle = resources.join("worker").join("mlx-sidecar");
    if bundle.is_file() {
        bundle
    } else {
        executable.with_file_name("mlx-sidecar")
    }
}

const CHUNK_BYTES: usize = 65_536;
/// After its pipes are closed a process is as good as gone.
const LAST_STEP: Duration = Duration::from_millis(10);
const LAST_STEPS: usize = 200;

impl Worker {
    /// Starts it. `on_event` is called from threads of the worker's own, also when nobody asks for anything: a worker
    /// whose output isn't read would stop in the end.
    pub fn start<F>(program: &Path, args: &[&str], on_event: F) -> io::Result<Worker>
    where
        F: Fn(Event) + Send + Sync + 'static,
    {
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (mut stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (input, lines) = channel::<String>();
        thread::spawn(move || {
            // Its own thread: a worker that has enough to do lets a writer wait, and that must not be the app's window.
            for line in lines {
                if let Some(pipe) = stdin.as_mut() {
                    if pipe.write_all(line.as_bytes()).and_then(|()| pipe.flush()).is_err() {
                        break; // The end of the process tells it better.
                    }
                }
            }
        });
        let (child, ended) = (Arc::new(Mutex::new(child)), Arc::new((Mutex::new(false), Condvar::new())));
        let on_event = Arc::new(on_event);
        let (say, log) = (on_event.clone(), on_event.clone());
        let reading = [
            thread::spawn(move || drain(stdout, |bytes| say(Event::Stdout(bytes)))),
            thread::spawn(move || drain(stderr, |bytes| log(Event::Stderr(bytes)))),
        ];
        let (process, done) = (child.clone(), ended.clone());
        thread::spawn(move || {
            for reader in reading {
                let _ = reader.join();
            }
            on_event(Event::Ended(status_of(&process)));
            *done.0.lock().unwrap() = true;
            done.1.notify_all();
        });
        Ok(Worker { child, input: Mutex::new(Some(input)), ended })
    }

    /// Never waits; a process that is gone swallows it.
    pub fn write(&self, line: String) {
        if let Some(input) = self.input.lock().unwrap().as_ref() {
            let _ = input.send(line);
        }
    }

    /// Closes stdin, after what was written.
    pub fn end_input(&self) {
        self.input.lock().unwrap().take();
    }

    pub fn kill(&self) {
        let _ = self.child.lock().unwrap().kill();
    }

    /// By `shutdown` and EOF within the grace, and a second; else by a kill. Returns whether it ended by itself.
    pub fn stop(&self, grace: Duration) -> bool {
        self.write(format!("{{\"command\":\"shutdown\",\"grace_s\":{}}}\n", grace.as_secs_f64()));
        self.end_input();
        let by_itself = self.wait(grace + Duration::from_secs(1));
        if !by_itself {
            self.kill();
            self.wait(Duration::from_secs(1));
        }
        by_itself
    }

    fn wait(&self, most: Duration) -> bool {
        let (ended, wake) = &*self.ended;
        let (ended, _) = wake.wait_timeout_while(ended.lock().unwrap(), most, |ended| !*ended).unwrap();
        *ended
    }
}

fn drain(pipe: Option<impl Read>, mut take: impl FnMut(Vec<u8>)) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => take(buffer[..length].to_vec()),
            Err(problem) if problem.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// How it ended. One that has closed its pipes and lives on is killed.
fn status_of(child: &Mutex<Child>) -> Option<ExitStatus> {
    for _ in 0..LAST_STEPS {
        if let Ok(Some(status)) = child.lock().unwrap().try_wait() {
            return Some(status);
        }
        thread::sleep(LAST_STEP);
    }
    let mut child = child.lock().unwrap();
    let _ = child.kill();
    child.wait().ok()
}

#[cfg(test)]
mod tests {
    //! With the real worker: `MLX_SIDECAR` is where it is.
    use super::*;
    use std::sync::mpsc::Receiver;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn start(program: &str, args: &[&str]) -> (Worker, Receiver<Event>) {
        let (sender, events) = channel();
        let sender = Mutex::new(sender);
        let worker = Worker::start(Path::new(program), args, move |event| {
            let _ = sender.lock().unwrap().send(event);
        });
        (worker.expect("it starts"), events)
    }

    fn real() -> (Worker, Receiver<Event>) {
        start(&std::env::var("MLX_SIDECAR").expect("MLX_SIDECAR is set"), &[])
    }

    /// Everything up to the end: stdout, stderr, status.
    fn all(events: &Receiver<Event>) -> (String, String, Option<ExitStatus>) {
        let (mut out, mut log) = (Vec::new(), Vec::new());
        loop {
            match events.recv_timeout(PATIENCE).expect("it ends") {
                Event::Stdout(bytes) => out.extend(bytes),
                Event::Stderr(bytes) => log.extend(bytes),
                Event::Ended(status) => {
                    return (String::from_utf8(out).unwrap(), String::from_utf8(log).unwrap(), status)
                }
            }
        }
    }

    #[test]
    fn what_was_asked_is_answered_before_it_stops_by_itself() {
        let (worker, events) = real();
        worker.write("{\"command\":\"check-availability\",\"id\":7}\n".into());
        assert!(worker.stop(Duration::from_secs(20)));
        let (out, log, status) = all(&events);
        assert!(out.contains("\"id\":7") && out.contains("\"command\":\"shutdown\",\"success\":true"), "{out}");
        assert_eq!((log.as_str(), status.unwrap().code()), ("", Some(0)));
    }

    #[test]
    fn it_ends_when_its_stdin_does() {
        let (worker, events) = real();
        drop(worker);
        assert_eq!(all(&events).2.unwrap().code(), Some(0));
    }

    #[test]
    fn one_that_obeys_nothing_is_killed() {
        let (worker, events) =
            start("sh", &["-c", "trap '' TERM; while :; do echo nonsense; echo log >&2; sleep 0.1; done"]);
        assert!(!worker.stop(Duration::from_millis(200)));
        let (out, log, status) = all(&events);
        assert!(out.contains("nonsense") && log.contains("log") && !status.unwrap().success());
    }

    #[test]
    fn a_flood_of_lines_never_keeps_the_writer_waiting() {
        let (worker, events) = start("sh", &["-c", "sleep 1"]);
        for _ in 0..1000 {
            worker.write("x".repeat(10_000));
        }
        worker.kill();
        assert!(!all(&events).2.unwrap().success());
    }

    #[test]
    fn a_shipped_bundle_goes_before_a_launcher_beside_the_app() {
        let folder = std::env::temp_dir().join(format!("mlx-sidecar-place-{}", std::process::id()));
        let executable = folder.join("notes");
        std::fs::create_dir_all(folder.join("worker")).unwrap();
        assert_eq!(place(&folder, &executable), folder.join("mlx-sidecar"));
        std::fs::write(folder.join("worker").join("mlx-sidecar"), "").unwrap();
        assert_eq!(place(&folder, &executable), folder.join("worker").join("mlx-sidecar"));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        assert!(Worker::start(Path::new("/nonexistent/worker"), &[], |_| {}).is_err());
    }
}
