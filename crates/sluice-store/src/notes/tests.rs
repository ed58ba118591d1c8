#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it says")]

use futures_util::future::join_all;
use sluice_message::Position;
use sluice_stream::{MAX_NOTE_BYTES, MAX_NOTE_NAME_BYTES, Positions};
use tempfile::TempDir;
use tokio::time::sleep;

use super::*;
use crate::{
    Store, StoredPositions,
    ledger::{MAX_WAITING, MAX_WAITING_BYTES, SWEEP_EVERY},
};

const HOUR: Option<Duration> = Some(Duration::from_hours(1));

async fn both(directory: &TempDir) -> (StoredPositions, StoredNotes) {
    Store::open(directory.path()).await.unwrap().positions_and_notes()
}

async fn notes(directory: &TempDir) -> StoredNotes {
    both(directory).await.1
}

async fn on_disk(notes: &StoredNotes, name: &str) -> Option<String> {
    notes.0.on_disk::<Note>(name).await
}

async fn read(notes: &StoredNotes, name: &str) -> Option<String> {
    notes.read(name).await.unwrap()
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[tokio::test]
async fn what_was_written_last_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let one = notes(&directory).await;
    assert_eq!(read(&one, "n").await, None);
    one.write("n", "first".to_owned(), HOUR).await.unwrap();
    one.write("n", "ä\0\u{10ffff}".to_owned(), None).await.unwrap();
    one.write("ended", "text".to_owned(), Some(Duration::ZERO)).await.unwrap();
    one.write("\"\0'", "\"\0'".to_owned(), None).await.unwrap();
    one.write_soon("soon", text("1")).unwrap();
    one.write_soon("soon", text("2")).unwrap();
    one.write("gone", "text".to_owned(), None).await.unwrap();
    one.write_soon("gone", None).unwrap();
    // Dropped without a flush: what waits is written still.
    drop(one);
    let two = notes(&directory).await;
    assert_eq!(read(&two, "n").await.as_deref(), Some("ä\0\u{10ffff}"));
    assert_eq!(read(&two, "\"\0'").await.as_deref(), Some("\"\0'"));
    assert_eq!(read(&two, "soon").await.as_deref(), Some("2"));
    assert_eq!(read(&two, "gone").await, None);
    assert_eq!(read(&two, "ended").await, None);
}

#[tokio::test]
async fn what_was_answered_survives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let (positions, notes) = both(&directory).await;
    let (saved, written, soon) =
        tokio::join!(positions.save("r", Position::new()), notes.write("n", "1".to_owned(), HOUR), async {
            notes.write_soon("soon", text("1"))
        });
    saved.unwrap();
    written.and(soon).unwrap();
    // The files as they are while nothing was closed.
    let after = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(&directory).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), after.path().join(file.file_name())).unwrap();
    }
    let (positions, notes) = both(&after).await;
    assert!(positions.load("r").await.unwrap().is_some());
    assert_eq!(read(&notes, "n").await, text("1"));
    assert_eq!(read(&notes, "soon").await, text("1"), "it was given before that transaction began");
}

#[tokio::test]
async fn a_note_on_its_way_to_the_disk_is_read_already() {
    let directory = tempfile::tempdir().unwrap();
    let notes = notes(&directory).await;
    notes.write_soon("n", text("1")).unwrap();
    assert_eq!(read(&notes, "n").await, text("1"));
    assert_eq!(on_disk(&notes, "n").await, None);
    notes.flush().await.unwrap();
    assert_eq!(on_disk(&notes, "n").await, text("1"));
    notes.write_soon("n", None).unwrap();
    assert_eq!(read(&notes, "n").await, None);
    assert_eq!(on_disk(&notes, "n").await, text("1"));
}

#[tokio::test]
async fn positions_and_notes_share_a_transaction_and_no_name() {
    let directory = tempfile::tempdir().unwrap();
    let (positions, notes) = both(&directory).await;
    let names: Vec<_> = (0..500).map(|number| number.to_string()).collect();
    let mut saves = join_all(names.iter().map(|name| positions.save(name, Position::new())));
    let mut writes = join_all(names.iter().map(|name| notes.write(name, format!("note {name}"), HOUR)));
    assert!(
        (&mut saves).now_or_never().is_none() && (&mut writes).now_or_never().is_none(),
        "all have asked"
    );
    // In one of these a failure is a failure of both.
    notes
        .0
        .run("CREATE TRIGGER broken BEFORE INSERT ON notes BEGIN SELECT RAISE(ABORT, 'on purpose'); END")
        .await;
    let (saved, written) = tokio::join!(saves, writes);
    assert!(saved.iter().all(Result::is_err) && written.iter().all(Result::is_err));
    assert_eq!(notes.0.number("SELECT count(*) FROM positions").await, 0);
    notes.0.run("DROP TRIGGER broken").await;
    let saves = join_all(names.iter().map(|name| positions.save(name, Position::new())));
    let writes = join_all(names.iter().map(|name| notes.write(name, format!("note {name}"), HOUR)));
    let (saved, written) = tokio::join!(saves, writes);
    assert!(saved.iter().all(Result::is_ok) && written.iter().all(Result::is_ok));
    let (loaded, read) = tokio::join!(
        join_all(names.iter().map(|name| positions.load(name))),
        join_all(names.iter().map(|name| notes.read(name)))
    );
    assert!(loaded.into_iter().all(|position| position.unwrap() == Some(Position::new())));
    // Those that are there already may be written anew, many at a time.
    let again = join_all(names.iter().map(|name| notes.write(name, format!("note {name}"), HOUR))).await;
    assert!(again.iter().all(Result::is_ok), "{again:?}");
    for (name, note) in names.iter().zip(read) {
        assert_eq!(note.unwrap(), Some(format!("note {name}")));
    }
}

#[tokio::test]
async fn forgetting_reaches_what_waits_and_what_is_kept_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let (positions, notes) = both(&directory).await;
    let (gone, others) = (["k:a:%", "k:a:", "k:a:\u{10ffff}x"], ["k:a", "k:ab:1", "k:A:1", "k:b:1", "k;a"]);
    for name in gone.iter().chain(&others) {
        notes.write(name, "1".to_owned(), HOUR).await.unwrap();
    }
    notes.write_soon("k:a:waiting", text("1")).unwrap();
    positions.save("k:a:%", Position::new()).await.unwrap();
    notes.forget_prefix("k:a:").await.unwrap();
    for name in gone.iter().chain(&["k:a:waiting"]) {
        assert_eq!(read(&notes, name).await, None, "{name}");
        assert_eq!(on_disk(&notes, name).await, None, "{name}");
    }
    for name in others {
        assert_eq!(read(&notes, name).await, text("1"), "{name}");
    }
    assert!(positions.load("k:a:%").await.unwrap().is_some(), "a position is no note");
    // What is given after the forgetting, even in the same transaction, stays.
    let writing = async { notes.write_soon("k:a:%", text("2")) };
    let (forgotten, written) = tokio::join!(notes.forget_prefix("k:a:"), writing);
    forgotten.and(written).unwrap();
    notes.flush().await.unwrap();
    assert_eq!(on_disk(&notes, "k:a:%").await, text("2"));
}

/// The time stands still but for those who wait, so that the writer's next sweep is near.
#[tokio::test(start_paused = true)]
async fn an_expired_note_is_not_read_and_is_gone_some_time_later() {
    let directory = tempfile::tempdir().unwrap();
    let notes = notes(&directory).await;
    let names: Vec<_> = (0..=SWEPT).map(|number| format!("k:a:{number}")).collect();
    let ended = join_all(names.iter().map(|name| notes.write(name, "1".to_owned(), Some(Duration::ZERO))));
    ended.await.into_iter().for_each(|written| written.unwrap());
    notes.write("k:b:1", "1".to_owned(), HOUR).await.unwrap();
    notes.write("k:b:2", "1".to_owned(), None).await.unwrap();
    // One that was to end and was written anew does not.
    notes.write("k:a:0", "2".to_owned(), None).await.unwrap();
    assert_eq!(read(&notes, "k:a:1").await, None);
    while notes.0.number("SELECT count(*) FROM notes").await > 3 {
        sleep(SWEEP_EVERY).await;
    }
    assert_eq!(notes.0.number("SELECT notes FROM note_groups WHERE note_group = 'k:a:'").await, 1);
    for (name, kept) in [("k:a:0", "2"), ("k:b:1", "1"), ("k:b:2", "1")] {
        assert_eq!(read(&notes, name).await.as_deref(), Some(kept));
    }
}

#[tokio::test]
async fn a_sweep_takes_a_piece() {
    let directory = tempfile::tempdir().unwrap();
    let notes = notes(&directory).await;
    let names: Vec<_> = (0..=SWEPT).map(|number| format!("k:a:{number}")).collect();
    let ended = join_all(names.iter().map(|name| notes.write(name, "1".to_owned(), Some(Duration::ZERO))));
    ended.await.into_iter().for_each(|written| written.unwrap());
    let mut connection = notes.0.connection().await;
    assert!(sweep(&mut connection, Timestamp(0)).await.unwrap(), "nothing had expired then");
    assert!(!sweep(&mut connection, Timestamp::now()).await.unwrap(), "there is more");
    assert!(sweep(&mut connection, Timestamp::now()).await.unwrap());
    drop(connection);
    assert_eq!(notes.0.number("SELECT count(*) FROM note_groups").await, 0, "and with the last its group");
}

#[tokio::test]
async fn of_the_notes_of_a_group_those_written_longest_ago_go_first() {
    let directory = tempfile::tempdir().unwrap();
    let notes = notes(&directory).await;
    let one = || "1".to_owned();
    notes.write("k:a:first", one(), HOUR).await.unwrap();
    notes.write("k:a:second", one(), HOUR).await.unwrap();
    notes.write("k:b:x", one(), HOUR).await.unwrap();
    for number in 2..MAX_NOTES_OF_A_GROUP {
        notes.write_soon(&format!("k:a:{number}"), Some(one())).unwrap();
    }
    notes.flush().await.unwrap();
    notes.write("k:a:first", one(), HOUR).await.unwrap();
    assert!(read(&notes, "k:a:second").await.is_some(), "there is room for all");
    notes.write("k:a:one more", one(), HOUR).await.unwrap();
    assert_eq!(read(&notes, "k:a:second").await, None);
    assert!(read(&notes, "k:a:first").await.is_some() && read(&notes, "k:a:2").await.is_some());
    // One that is forgotten leaves room for another.
    notes.write_soon("k:a:2", None).unwrap();
    notes.write("k:a:and another", one(), HOUR).await.unwrap();
    assert!(read(&notes, "k:a:3").await.is_some() && read(&notes, "k:b:x").await.is_some());
    notes.forget_prefix("k:a:").await.unwrap();
    assert_eq!(notes.0.number("SELECT sum(notes) FROM note_groups").await, 1);
}

#[tokio::test]
async fn notes_that_are_groups_by_themselves_are_not_counted() {
    let directory = tempfile::tempdir().unwrap();
    let notes = notes(&directory).await;
    notes.write("retry:s", "1".to_owned(), None).await.unwrap();
    notes.write("retry:", "1".to_owned(), None).await.unwrap();
    assert_eq!(notes.0.number("SELECT count(*) FROM note_groups").await, 0);
    notes.write("k:a:", "1".to_owned(), None).await.unwrap();
    assert_eq!(notes.0.number("SELECT count(*) FROM note_groups").await, 1);
}

#[tokio::test]
async fn a_failed_write_is_told_to_those_who_wait_and_tried_again_for_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let notes = notes(&directory).await;
    notes
        .0
        .run("CREATE TRIGGER broken BEFORE INSERT ON notes BEGIN SELECT RAISE(ABORT, 'on purpose'); END")
        .await;
    notes.write_soon("soon", text("1")).unwrap();
    let error = notes.write("now", "1".to_owned(), HOUR).await.unwrap_err().to_string();
    assert!(error.contains("on purpose"), "{error}");
    assert_eq!(read(&notes, "now").await, None, "what was refused is not stored later");
    assert_eq!(read(&notes, "soon").await, text("1"), "what waits is not forgotten");
    notes.0.run("DROP TRIGGER broken").await;
    notes.flush().await.unwrap();
    assert_eq!(on_disk(&notes, "soon").await, text("1"));
    assert_eq!(on_disk(&notes, "now").await, None);
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let notes = notes(&directory).await;
    let (name, long) = ("n".repeat(MAX_NOTE_NAME_BYTES), "x".repeat(MAX_NOTE_BYTES));
    notes.write(&name, long.clone(), HOUR).await.unwrap();
    assert_eq!(read(&notes, &name).await, Some(long.clone()));
    let refused = notes.write(&(name + "n"), String::new(), HOUR).await;
    assert!(matches!(refused, Err(NotesError::TooLarge)));
    assert!(matches!(notes.write_soon("n", Some(long + "x")), Err(NotesError::TooLarge)));
}

#[tokio::test]
async fn so_many_notes_may_wait_and_so_many_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let notes = notes(&directory).await;
    // Nothing is awaited meanwhile, so that the writer takes nothing away.
    for number in 0..MAX_WAITING {
        notes.write_soon(&number.to_string(), None).unwrap();
    }
    notes.write_soon("0", text("another")).unwrap();
    assert!(matches!(notes.write_soon("n", None), Err(NotesError::Overloaded(MAX_WAITING))));
    notes.flush().await.unwrap();

    let most = MAX_WAITING_BYTES / (MAX_NOTE_BYTES + 6);
    let long = || Some("x".repeat(MAX_NOTE_BYTES));
    for number in 0..most {
        notes.write_soon(&format!("{number:06}"), long()).unwrap();
    }
    notes.write_soon("000000", long()).unwrap();
    assert!(matches!(notes.write_soon("000000+", long()), Err(NotesError::Overloaded(_))));
    notes.write_soon("000000", text("short")).unwrap();
    notes.write_soon("000000+", text("short")).unwrap();
    assert!(notes.0.queue().take().0.notes.by_name.len() > most, "and they are not kept by this test");
}
