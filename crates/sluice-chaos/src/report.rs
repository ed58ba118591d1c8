//! What came out: a table for people, and whether the gateway kept what it promises.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::{
    fault::Fault,
    ledger::{Examples, Judgement},
};

/// The result of a run.
#[derive(Debug)]
pub struct Report {
    pub(crate) seed: u64,
    pub(crate) faults: BTreeMap<Fault, u64>,
    /// Times that the gateway was killed in the middle of another fault.
    pub(crate) kills_within: u64,
    pub(crate) judgements: Vec<Judgement>,
    /// Faults of the gateway that are no matter of one consumer.
    pub(crate) others: Vec<String>,
    pub(crate) answers: BTreeMap<u16, u64>,
    /// From a kill: until the gateway was ready, and for each API until the next acknowledgement.
    pub(crate) recoveries: BTreeMap<String, Vec<Duration>>,
    pub(crate) time: Duration,
}

impl Report {
    /// Whether nothing was lost, out of order, of another API or twice in spite of its key, and nothing else was
    /// wrong.
    pub fn is_good(&self) -> bool {
        self.wrong().is_empty()
    }

    /// What is wrong, in sentences.
    fn wrong(&self) -> Vec<String> {
        let mut wrong = self.others.clone();
        for judgement in &self.judgements {
            let kinds: [(&str, &Examples); 4] = [
                ("lost", &judgement.lost),
                ("out of order", &judgement.disorder),
                ("of another API", &judgement.foreign),
                ("stored twice in spite of an Idempotency-Key", &judgement.keyed_twice),
            ];
            for (kind, examples) in kinds.iter().filter(|(_, examples)| examples.count > 0) {
                let (channel, consumer) = (&judgement.channel, &judgement.consumer);
                let shown = examples.shown.join(", ");
                wrong.push(format!("{channel}, {consumer}: {} {kind}, for example {shown}", examples.count));
            }
        }
        wrong
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = |times: &u64| if *times == 1 { "once".to_owned() } else { format!("{times} times") };
        writeln!(f, "Seed {}, {:.0?}", self.seed, self.time)?;
        writeln!(
            f,
            "\n| API | Consumer | Acknowledged | Seen | Lost | Out of order | Repeats | Gaps told |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|")?;
        for row in &self.judgements {
            let Judgement { channel, consumer, acknowledged, seen, lost, disorder, repeats, gaps, .. } = row;
            let (lost, disorder) = (lost.count, disorder.count);
            writeln!(
                f,
                "| {channel} | {consumer} | {acknowledged} | {seen} | {lost} | {disorder} | {repeats} | {gaps} |"
            )?;
        }
        writeln!(f, "\n| API | Stored twice, without a key | with a key, excused | with a key otherwise |")?;
        writeln!(f, "|---|---|---|---|")?;
        for row in self.judgements.iter().filter(|row| row.consumer == crate::consumer::TELLS_PLACES) {
            let (channel, without, excused) = (&row.channel, row.unkeyed_twice, row.excused_twice);
            writeln!(f, "| {channel} | {without} | {excused} | {} |", row.keyed_twice.count)?;
        }
        let faults = self.faults.iter().map(|(fault, count)| format!("{} {}", fault.name(), times(count)));
        writeln!(f, "\nFaults: {}.", faults.collect::<Vec<_>>().join(", "))?;
        writeln!(f, "Killed in the middle of another: {}.", self.kills_within)?;
        let answers = self.answers.iter().map(|(status, count)| match status {
            0 => format!("none {count}"),
            status => format!("{status} {count}"),
        });
        writeln!(f, "Answers to publishers: {}.", answers.collect::<Vec<_>>().join(", "))?;
        for (what, times) in &self.recoveries {
            let mut times = times.clone();
            times.sort();
            if let (Some(median), Some(worst)) = (times.get(times.len() / 2), times.last()) {
                let (median, worst, count) = (median.as_millis(), worst.as_millis(), times.len());
                writeln!(f, "SIGKILL to {what}: median {median} ms, worst {worst} ms ({count} times).")?;
            }
        }
        let wrong = self.wrong();
        if wrong.is_empty() {
            return write!(f, "\nNothing was lost, nothing was out of order.");
        }
        writeln!(f, "\nWRONG:")?;
        wrong.iter().try_for_each(|wrong| writeln!(f, "- {wrong}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Channel, Excuses, Seen};

    fn report(seen: &[u64]) -> Report {
        let channel = Channel::new("log/stream", false, 1, &Excuses::default());
        (0..2).for_each(|_| channel.acknowledge(0, 0, false));
        let mut record = Seen::new(&channel);
        seen.iter().for_each(|number| record.message(&channel, &channel.content(0, *number), None));
        Report {
            seed: 9,
            faults: BTreeMap::from([(Fault::Kill, 2), (Fault::KafkaStop, 1)]),
            kills_within: 0,
            judgements: vec![record.judge(&channel, "sse")],
            others: Vec::new(),
            answers: BTreeMap::from([(0, 3), (202, 2)]),
            recoveries: BTreeMap::from([("ready".to_owned(), vec![Duration::from_millis(40)])]),
            time: Duration::from_secs(61),
        }
    }

    #[test]
    fn a_run_without_a_loss_is_good_and_says_what_was_done() {
        let report = report(&[0, 1, 1]);
        assert!(report.is_good());
        let text = report.to_string();
        assert!(text.starts_with("Seed 9, 61s\n"), "{text}");
        assert!(text.contains("| log/stream | sse | 2 | 2 | 0 | 0 | 1 | 0 |"), "{text}");
        assert!(text.contains("Faults: kill 2 times, kafka-stop once."), "{text}");
        assert!(text.contains("Answers to publishers: none 3, 202 2."), "{text}");
        assert!(text.contains("SIGKILL to ready: median 40 ms, worst 40 ms (1 times)."), "{text}");
    }

    #[test]
    fn a_loss_and_whatever_else_is_wrong_is_named() {
        let mut report = report(&[1]);
        report.others.push("The gateway ended by itself.".to_owned());
        assert!(!report.is_good());
        let text = report.to_string();
        assert!(text.contains("- log/stream, sse: 1 lost, for example log/stream/0-0"), "{text}");
        assert!(text.contains("- The gateway ended by itself."), "{text}");
    }
}
