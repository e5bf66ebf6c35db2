//! The app. Its page starts the worker through tauri-plugin-shell, or (built with `VITE_WORKER=rust`) asks for it here.

mod worker;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;
use tauri::ipc::{Channel, InvokeResponseBody};
use tauri::{AppHandle, Manager, RunEvent, State};
use worker::{Event, Worker};

const GRACE: Duration = Duration::from_secs(1);
const KEPT_LOG_BYTES: usize = 8192;

/// The one worker that the page has.
#[derive(Default)]
struct Owned(Mutex<Option<Worker>>);

/// As `Ending` of the client.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ending {
    exit_code: Option<i32>,
    signal: Option<i32>,
    stderr: String,
}

/// A page that was loaded anew gets a new worker; the old one loses its stdin, and ends.
#[tauri::command(async)]
fn worker_start(app: AppHandle, owned: State<'_, Owned>, messages: Channel<InvokeResponseBody>) -> Result<(), String> {
    let resources = app.path().resource_dir().map_err(|problem| problem.to_string())?;
    let executable = std::env::current_exe().map_err(|problem| problem.to_string())?;
    let log = Arc::new(Mutex::new(Vec::new()));
    let started = Worker::start(&worker::place(&resources, &executable), &["--model", "demo"], move |event| {
        // A page that is gone can't be told, and the worker is drained all the same.
        let _ = match event {
            Event::Stdout(bytes) => messages.send(InvokeResponseBody::Raw(bytes)),
            Event::Stderr(bytes) => return keep(&mut log.lock().unwrap(), &bytes),
            Event::Ended(status) => messages.send(ending(status, &log.lock().unwrap())),
        };
    });
    *owned.0.lock().unwrap() = Some(started.map_err(|problem| problem.to_string())?);
    Ok(())
}

#[tauri::command]
fn worker_write(owned: State<'_, Owned>, line: String) {
    if let Some(worker) = owned.0.lock().unwrap().as_ref() {
        worker.write(line);
    }
}

#[tauri::command]
fn worker_end_input(owned: State<'_, Owned>) {
    if let Some(worker) = owned.0.lock().unwrap().as_ref() {
        worker.end_input();
    }
}

#[tauri::command]
fn worker_kill(owned: State<'_, Owned>) {
    if let Some(worker) = owned.0.lock().unwrap().as_ref() {
        worker.kill();
    }
}

fn keep(log: &mut Vec<u8>, bytes: &[u8]) {
    log.extend_from_slice(bytes);
    let surplus = log.len().saturating_sub(KEPT_LOG_BYTES);
    log.drain(..surplus);
}

fn ending(status: Option<std::process::ExitStatus>, log: &[u8]) -> InvokeResponseBody {
    #[cfg(unix)]
    let signal = status.and_then(|status| std::os::unix::process::ExitStatusExt::signal(&status));
    #[cfg(not(unix))]
    let signal = None;
    let exit_code = status.and_then(|status| status.code());
    let ending = Ending { exit_code, signal, stderr: String::from_utf8_lossy(log).into_owned() };
    InvokeResponseBody::Json(serde_json::to_string(&ending).unwrap_or_default())
}

pub fn run() {
    tauri::Builder::default()
        .plugin(tauri_plugin_shell::init())
        .manage(Owned::default())
        .invoke_handler(tauri::generate_handler![worker_start, worker_write, worker_end_input, worker_kill])
        .build(tauri::generate_context!())
        .expect("the app starts")
        .run(|app, event| {
            if let RunEvent::Exit = event {
                // What the page started, the plugin kills; what was started here ends in good order.
                if let Some(worker) = app.state::<Owned>().0.lock().unwrap().take() {
                    worker.stop(GRACE);
                }
            }
        });
}
