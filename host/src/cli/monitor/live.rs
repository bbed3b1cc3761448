//! The live view: somebody looks once a second, a terminal shows it, keys steer it.
//!
//! The terminal is given back as it was, also after a panic or a signal.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, TryRecvError};
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::lines::Palette;
use super::model::{Key, Look, Model};
use super::place::Place;
use super::screen;
use crate::env::{self, Env};
use crate::{Error, Result};

/// The pause between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// How long the brokers may hold up a look.
const BROKERS: Duration = Duration::from_secs(1);
/// How soon a key, a look or a signal is taken notice of.
const SOON: Duration = Duration::from_millis(50);

/// Runs until somebody quits.
pub(super) fn run(runtime: Runtime, place: Place, mut model: Model) -> Result<()> {
    let stop = signals(&runtime)?;
    let coloured = std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let wants_lake = Arc::new(AtomicBool::new(model.wants_lake()));
    let (tell, told) = mpsc::channel();
    look(&runtime, place, wants_lake.clone(), &tell);
    let mut terminal = ratatui::try_init().map_err(|e| trouble(&e))?;
    let env = env::machine();
    let shown = loop {
        if let Err(e) = show(&mut terminal, &mut model, &env, Palette { coloured }) {
            break Err(e);
        }
        wants_lake.store(model.wants_lake(), Ordering::SeqCst);
        match wait(&told, &mut model, &stop) {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(e) => break Err(e),
        }
    };
    // Shows the cursor again, too.
    drop(terminal);
    ratatui::restore();
    // A question that is under way may take seconds: nobody waits for it.
    runtime.shutdown_background();
    shown
}

/// Looks at hosts and lake side by side: neither waits for the other. The lake only while somebody wants to see it.
fn look(runtime: &Runtime, place: Place, wants_lake: Arc<AtomicBool>, tell: &mpsc::Sender<Look>) {
    let env = env::machine();
    let (hosts, mut lake) = (place.hosts, place.lake);
    let told = tell.clone();
    runtime.spawn(async move {
        loop {
            let next = tokio::time::Instant::now() + EVERY;
            let found = hosts.ask().await;
            if told.send(Look::Hosts(env.now(), found)).is_err() {
                return;
            }
            tokio::time::sleep_until(next).await;
        }
    });
    let told = tell.clone();
    runtime.spawn(async move {
        loop {
            let next = tokio::time::Instant::now() + EVERY;
            if wants_lake.load(Ordering::SeqCst)
                && told.send(Look::Lake(lake.look(BROKERS).await.map(Box::new))).is_err()
            {
                return;
            }
            tokio::time::sleep_until(next).await;
        }
    });
}

fn show(
    terminal: &mut ratatui::DefaultTerminal,
    model: &mut Model,
    env: &Env,
    palette: Palette,
) -> Result<()> {
    let view = model.view(env.now());
    let mut page = 1;
    let drawn = terminal.draw(|frame| page = screen::draw(frame, &view, &mut model.around, palette));
    model.page(page);
    drawn.map(drop).map_err(|e| trouble(&e))
}

/// Waits until there is something new to show. False: it is over.
fn wait(told: &mpsc::Receiver<Look>, model: &mut Model, stop: &AtomicBool) -> Result<bool> {
    loop {
        if stop.load(Ordering::SeqCst) {
            return Ok(false);
        }
        match told.try_recv() {
            Ok(look) => {
                model.take(look);
                return Ok(true);
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => {
                return Err(Error::stop("nobody looks any more: this is a bug"));
            }
        }
        if !event::poll(SOON).map_err(|e| trouble(&e))? {
            continue;
        }
        match event::read().map_err(|e| trouble(&e))? {
            Event::Key(pressed) => match meaning(pressed) {
                Some(key) => model.press(key),
                None => continue,
            },
            Event::Resize(..) => {}
            _ => continue,
        }
        return Ok(!model.over);
    }
}

fn meaning(pressed: KeyEvent) -> Option<Key> {
    if pressed.kind == KeyEventKind::Release {
        return None;
    }
    if pressed.modifiers.contains(KeyModifiers::CONTROL) {
        return (pressed.code == KeyCode::Char('c')).then_some(Key::Quit);
    }
    Some(match pressed.code {
        KeyCode::Char('q') => Key::Quit,
        KeyCode::Esc => Key::Escape,
        KeyCode::Tab | KeyCode::Right => Key::Next,
        KeyCode::BackTab | KeyCode::Left => Key::Before,
        KeyCode::Up | KeyCode::Char('k') => Key::Up,
        KeyCode::Down | KeyCode::Char('j') => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Top,
        KeyCode::End => Key::Bottom,
        KeyCode::Char('p' | ' ') => Key::Pause,
        KeyCode::Char('?' | 'h') => Key::Help,
        _ => return None,
    })
}

/// Becomes true at a signal that would end the process, so that the terminal is given back first.
fn signals(runtime: &Runtime) -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let _within = runtime.enter();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()] {
        let mut signals = signal(kind).map_err(|e| Error::stop(format!("cannot listen for signals: {e}")))?;
        let told = stop.clone();
        runtime.spawn(async move {
            signals.recv().await;
            told.store(true, Ordering::SeqCst);
        });
    }
    Ok(stop)
}

fn trouble(e: &std::io::Error) -> Error {
    Error::stop(format!("cannot use this terminal: {e}; without one: tidemill monitor --once"))
}

/// Whether a live view would be drawn, and by that what is written to stderr would be drawn over.
pub(super) fn over_stderr() -> bool {
    std::io::stdout().is_terminal() && std::io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_mean_what_the_help_says() {
        let plain = |code| meaning(KeyEvent::new(code, KeyModifiers::NONE));
        assert_eq!(plain(KeyCode::Char('q')), Some(Key::Quit));
        assert_eq!(plain(KeyCode::Esc), Some(Key::Escape));
        assert_eq!(plain(KeyCode::Tab), Some(Key::Next));
        assert_eq!(plain(KeyCode::Char('p')), Some(Key::Pause));
        assert_eq!(plain(KeyCode::Char('?')), Some(Key::Help));
        assert_eq!(plain(KeyCode::Char('c')), None);
        assert_eq!(meaning(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Some(Key::Quit));
        assert_eq!(meaning(KeyEvent::new(KeyCode::Char('q'), KeyModifiers::CONTROL)), None);
    }
}
