//! How each fault is injected and taken back, and what has to be well again before the next one.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::{
    Fault,
    fault::Turn,
    ledger::Channel,
    subscriber::Mood,
    suite::{Recoveries, Suite},
};

/// Messages that every API has to take after a fault before the next one comes.
const PROGRESS: u64 = 10;
/// How long that may take, with Kafka just started and little to compute with.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often connections are reset.
const RESETS: Duration = Duration::from_millis(300);
const REDEPLOYMENTS: Duration = Duration::from_secs(1);
/// How often it is looked whether something is to be done.
const TICK: Duration = Duration::from_millis(50);

impl Suite {
    /// One fault: calm, its beginning, its time, its end, and until everybody works again.
    pub(crate) async fn inject(&mut self, round: u64, turn: &Turn) -> Result<(), String> {
        sleep(turn.calm).await;
        let name = turn.fault.name();
        let within = if turn.kill_after.is_some() { ", and a kill" } else { "" };
        self.journal.say(&format!("round {round}: {name}{within}"));
        let started = Instant::now();
        match turn.fault {
            Fault::Kill => {
                let killed = Instant::now();
                self.kill().await?;
                self.note_recovery(killed);
            }
            Fault::Term => {
                self.gateway.terminate().await?;
                self.gateway.start().await?;
            }
            Fault::KafkaStop => self.stop_kafka(turn).await?,
            Fault::KafkaPause => self.pause_kafka(turn).await?,
            Fault::SubscriberDown => {
                self.callbacks.refuse(true);
                self.hold(turn, TICK, async |_| Ok(())).await?;
                self.callbacks.refuse(false);
            }
            Fault::Subscriber500 => self.subscriber(turn, Mood::Failing).await?,
            Fault::Subscriber429 => self.subscriber(turn, Mood::Busy).await?,
            Fault::SubscriberSilent => self.subscriber(turn, Mood::Silent).await?,
            Fault::DiskFull => {
                self.excuses.add();
                self.gateway.fill_disk(true).await?;
                self.hold(turn, TICK, async |_| Ok(())).await?;
                self.gateway.fill_disk(false).await?;
                self.excuses.add();
            }
            Fault::Reset => self.hold(turn, RESETS, async |suite| suite.reset()).await?,
            Fault::Clock => {
                self.set_clock(turn.jump)?;
                self.hold(turn, TICK, async |_| Ok(())).await?;
                self.set_clock(0)?;
            }
            Fault::Redeploy => self.hold(turn, REDEPLOYMENTS, Self::redeploy).await?,
        }
        let over = started.elapsed();
        self.progress(&format!("after {name} in round {round}")).await?;
        let well = started.elapsed() - over;
        self.journal.say(&format!("round {round}: {name} took {over:.1?}, well again after {well:.1?}"));
        Ok(())
    }

    /// Waits while a fault lasts, does something every so often, and kills the gateway where that is its turn.
    async fn hold(
        &mut self,
        turn: &Turn,
        period: Duration,
        mut each: impl AsyncFnMut(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        let started = Instant::now();
        let mut kill = turn.kill_after;
        let mut next = Duration::ZERO;
        while started.elapsed() < turn.length {
            if kill.take_if(|after| started.elapsed() >= *after).is_some() {
                self.kills_within += 1;
                self.kill().await?;
            }
            if started.elapsed() >= next {
                each(self).await?;
                next += period;
            }
            sleep(TICK).await;
        }
        Ok(())
    }

    /// Kills the gateway and starts it again, as whatever watches over it would.
    async fn kill(&mut self) -> Result<(), String> {
        self.excuses.add();
        self.gateway.kill().await?;
        self.excuses.add();
        self.gateway.start().await
    }

    /// How long a kill took until now, and how long each API needs until it takes messages again.
    fn note_recovery(&self, killed: Instant) {
        note(&self.recoveries, "ready", killed.elapsed());
        for channel in &self.channels {
            tokio::spawn(first_acknowledgement(Arc::clone(channel), Arc::clone(&self.recoveries), killed));
        }
    }

    async fn stop_kafka(&mut self, turn: &Turn) -> Result<(), String> {
        if let Some(kafka) = &mut self.kafka {
            kafka.stop().await?;
        }
        self.hold(turn, TICK, async |_| Ok(())).await?;
        match &mut self.kafka {
            Some(kafka) => kafka.serve().await,
            None => Ok(()),
        }
    }

    async fn pause_kafka(&mut self, turn: &Turn) -> Result<(), String> {
        if let Some(kafka) = &self.kafka {
            kafka.pause().await?;
        }
        self.hold(turn, TICK, async |_| Ok(())).await?;
        match &self.kafka {
            Some(kafka) => kafka.go_on().await,
            None => Ok(()),
        }
    }

    async fn subscriber(&mut self, turn: &Turn, mood: Mood) -> Result<(), String> {
        self.subscriber.be(mood);
        self.hold(turn, TICK, async |_| Ok(())).await?;
        self.subscriber.be(Mood::Well);
        Ok(())
    }

    fn reset(&self) -> Result<(), String> {
        self.gateway.proxy.reset();
        self.callbacks.reset();
        Ok(())
    }

    fn set_clock(&self, seconds: i64) -> Result<(), String> {
        self.excuses.add();
        self.gateway.set_clock(seconds)?;
        self.excuses.add();
        Ok(())
    }

    async fn redeploy(&mut self) -> Result<(), String> {
        for api in &mut self.apis {
            if let Err(refused) = api.redeploy(&self.gateway, &self.client).await {
                self.journal.fault(&refused);
            }
        }
        Ok(())
    }

    /// Waits until every API takes messages. Where one does not, that is a fault of the gateway.
    pub(crate) async fn progress(&mut self, when: &str) -> Result<(), String> {
        let started = Instant::now();
        let wanted: Vec<_> = self.channels.iter().map(|channel| channel.acknowledged() + PROGRESS).collect();
        loop {
            self.revive().await?;
            let both = self.channels.iter().zip(&wanted);
            let mut idle = both.filter(|(channel, wanted)| channel.acknowledged() < **wanted);
            let Some((channel, _)) = idle.next() else { return Ok(()) };
            if started.elapsed() > PATIENCE {
                let name = &channel.name;
                self.journal.fault(&format!("{name} takes no messages for {PATIENCE:?} {when}."));
                return Ok(());
            }
            sleep(TICK).await;
        }
    }

    /// Starts the gateway again where it has ended by itself.
    pub(crate) async fn revive(&mut self) -> Result<(), String> {
        if let Some(status) = self.gateway.has_ended() {
            self.journal.fault(&format!("The gateway ended by itself ({status})."));
            self.gateway.start().await?;
        }
        Ok(())
    }
}

/// Notes when an API takes its first message after a kill.
async fn first_acknowledgement(channel: Arc<Channel>, recoveries: Recoveries, killed: Instant) {
    let before = channel.acknowledged();
    while channel.acknowledged() == before {
        if killed.elapsed() > PATIENCE {
            return;
        }
        sleep(Duration::from_millis(1)).await;
    }
    note(&recoveries, &format!("the first acknowledgement of {}", channel.name), killed.elapsed());
}

fn note(recoveries: &Recoveries, what: &str, time: Duration) {
    let mut recoveries = recoveries.lock().unwrap_or_else(PoisonError::into_inner);
    recoveries.entry(what.to_owned()).or_default().push(time);
}
