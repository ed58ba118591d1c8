#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it says")]

use std::time::Duration;

use futures_util::future::join_all;
use sluice_message::{Offset, Partition, Topic};
use sluice_stream::{MAX_READER_BYTES, client_prefix, client_reader, subscription_reader};
use tempfile::TempDir;
use tokio::time::sleep;

use super::*;
use crate::{Store, ledger::MAX_WAITING};

fn position(next: u64) -> Position {
    let mut position = Position::new();
    position.set_next(&Topic::from("t"), Partition(0), Offset(next));
    position
}

async fn positions(directory: &TempDir) -> StoredPositions {
    Store::open(directory.path()).await.unwrap().positions_and_notes().0
}

async fn on_disk(positions: &StoredPositions, reader: &str) -> Option<String> {
    positions.0.on_disk::<Position>(reader).await
}

#[tokio::test]
async fn what_was_saved_last_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let one = positions(&directory).await;
    let reader = subscription_reader("s");
    assert_eq!(one.load(&reader).await.unwrap(), None);
    one.save(&reader, position(3)).await.unwrap();
    one.save(&reader, position(0)).await.unwrap();
    one.save_soon("other", position(8)).unwrap();
    // Dropped without a flush: what waits is written still.
    drop(one);
    let two = positions(&directory).await;
    assert_eq!(two.load(&reader).await.unwrap(), Some(position(0)));
    assert_eq!(two.load("other").await.unwrap(), Some(position(8)));
}

#[tokio::test]
async fn a_position_on_its_way_to_the_disk_is_loaded_already() {
    let directory = tempfile::tempdir().unwrap();
    let positions = positions(&directory).await;
    positions.save_soon("r", position(1)).unwrap();
    positions.save_soon("r", position(2)).unwrap();
    assert_eq!(positions.load("r").await.unwrap(), Some(position(2)));
    assert_eq!(on_disk(&positions, "r").await, None);
    positions.flush().await.unwrap();
    assert_eq!(on_disk(&positions, "r").await.as_deref(), Some("t@0#1"));
}

#[tokio::test]
async fn what_may_wait_is_written_soon_without_anybody_asking() {
    let directory = tempfile::tempdir().unwrap();
    let positions = positions(&directory).await;
    positions.save_soon("r", position(1)).unwrap();
    while on_disk(&positions, "r").await.is_none() {
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_thousand_readers_that_save_at_once_share_a_transaction() {
    let directory = tempfile::tempdir().unwrap();
    let positions = positions(&directory).await;
    let names: Vec<_> = (0..1000).map(|number| subscription_reader(&number.to_string())).collect();
    let mut saves = join_all(names.iter().map(|name| positions.save(name, position(7))));
    assert!((&mut saves).now_or_never().is_none(), "all have asked");
    let (batch, callers) = positions.0.queue().take();
    assert_eq!((batch.positions.by_name.len(), callers.len()), (1000, 1000), "one transaction answers all");
    // Given back, as after a failure, so that the writer does its work.
    for (name, caller) in names.iter().zip(callers) {
        let mut queue = positions.0.queue();
        queue.set(name, Some(position(7)), false).unwrap();
        queue.add_caller(caller);
    }
    saves.await.into_iter().for_each(|saved| saved.unwrap());
    for name in &names {
        assert_eq!(on_disk(&positions, name).await.as_deref(), Some("t@0#6"));
    }
}

#[tokio::test]
async fn thousands_that_load_at_once_get_each_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let positions = positions(&directory).await;
    let name = |number: u64| subscription_reader(&number.to_string());
    for number in (0..2500).filter(|number| number % 5 != 0) {
        positions.save_soon(&name(number), position(number)).unwrap();
    }
    positions.flush().await.unwrap();
    // Each is asked for twice, so that one row answers many.
    let names: Vec<_> = (0..2500).chain(0..2500).map(|number| (number, name(number))).collect();
    let loaded = join_all(names.iter().map(|(_, name)| positions.load(name))).await;
    for ((number, name), loaded) in names.iter().zip(loaded) {
        assert_eq!(loaded.unwrap(), (number % 5 != 0).then(|| position(*number)), "{name}");
    }
}

#[tokio::test]
async fn forgetting_reaches_what_waits_and_what_is_kept_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let positions = positions(&directory).await;
    let (kept, waiting) = (client_reader("api", "kept%"), client_reader("api", "wait:ing"));
    let others = [client_reader("api2", "x"), "client:ap".to_owned(), subscription_reader("api:")];
    for reader in others.iter().chain([&kept]) {
        positions.save(reader, position(1)).await.unwrap();
    }
    positions.save_soon(&waiting, position(1)).unwrap();
    positions.forget_prefix(&client_prefix("api")).await.unwrap();
    positions.forget(&others[2]).await.unwrap();
    positions.forget("never stored").await.unwrap();
    for reader in [&kept, &waiting, &others[2]] {
        assert_eq!(positions.load(reader).await.unwrap(), None, "{reader}");
    }
    for reader in &others[..2] {
        assert_eq!(positions.load(reader).await.unwrap(), Some(position(1)), "{reader}");
    }
    // What is given after the forgetting, even in the same transaction, stays.
    let prefix = client_prefix("api");
    let forgetting = positions.forget_prefix(&prefix);
    let saving = async { positions.save_soon(&kept, position(2)) };
    let (forgotten, saved) = tokio::join!(forgetting, saving);
    forgotten.and(saved).unwrap();
    positions.flush().await.unwrap();
    assert_eq!(on_disk(&positions, &kept).await.as_deref(), Some("t@0#1"));
}

#[tokio::test]
async fn of_the_clients_of_an_api_those_written_longest_ago_go_first() {
    let directory = tempfile::tempdir().unwrap();
    let positions = positions(&directory).await;
    positions.save(&client_reader("api", "first"), position(1)).await.unwrap();
    positions.save(&client_reader("api", "second"), position(1)).await.unwrap();
    positions.save(&client_reader("other", "x"), position(1)).await.unwrap();
    for number in 2..MAX_CLIENTS {
        positions.save_soon(&client_reader("api", &number.to_string()), position(1)).unwrap();
    }
    positions.flush().await.unwrap();
    assert!(positions.load(&client_reader("api", "first")).await.unwrap().is_some(), "there is room for all");
    positions.save(&client_reader("api", "first"), position(2)).await.unwrap();
    positions.save(&client_reader("api", "one more"), position(1)).await.unwrap();
    assert_eq!(positions.load(&client_reader("api", "second")).await.unwrap(), None);
    assert_eq!(positions.load(&client_reader("api", "first")).await.unwrap(), Some(position(2)));
    assert!(positions.load(&client_reader("other", "x")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_failed_write_is_told_to_those_who_wait_and_tried_again_for_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let positions = positions(&directory).await;
    let broken =
        "CREATE TRIGGER broken BEFORE INSERT ON positions BEGIN SELECT RAISE(ABORT, 'on purpose'); END";
    positions.0.run(broken).await;
    positions.save_soon("soon", position(1)).unwrap();
    let error = positions.save("now", position(1)).await.unwrap_err().to_string();
    assert!(error.contains("on purpose"), "{error}");
    assert_eq!(positions.load("now").await.unwrap(), None, "what was refused is not stored later");
    assert_eq!(positions.load("soon").await.unwrap(), Some(position(1)), "what waits is not forgotten");
    positions.0.run("DROP TRIGGER broken").await;
    positions.flush().await.unwrap();
    assert_eq!(on_disk(&positions, "soon").await.as_deref(), Some("t@0#0"));
    assert_eq!(on_disk(&positions, "now").await, None);
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let positions = positions(&directory).await;
    positions.save(&"x".repeat(MAX_READER_BYTES), position(1)).await.unwrap();
    let refused = positions.save(&"x".repeat(MAX_READER_BYTES + 1), position(1)).await;
    assert!(matches!(refused, Err(PositionsError::Name)));
    // Nothing is awaited meanwhile, so that the writer takes nothing away.
    for number in 0..MAX_WAITING {
        positions.save_soon(&number.to_string(), position(1)).unwrap();
    }
    positions.save_soon("0", position(2)).unwrap();
    assert!(matches!(
        positions.save_soon("one more", position(1)),
        Err(PositionsError::Overloaded(MAX_WAITING))
    ));
}

#[tokio::test]
async fn a_position_that_cannot_be_read_is_an_error_and_not_a_beginning() {
    let directory = tempfile::tempdir().unwrap();
    let positions = positions(&directory).await;
    positions.save("r", position(1)).await.unwrap();
    positions.0.run("UPDATE positions SET position = 'nonsense'").await;
    assert!(matches!(positions.load("r").await, Err(PositionsError::Store(_))));
}
