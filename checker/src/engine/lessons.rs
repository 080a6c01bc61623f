//! What a search has learnt about the states that are hard to come by.

use super::machine::ClassId;
use super::mask::Mask;
use super::memo::Configuration;
use super::supply::Supply;
use super::usage::Usages;
use super::window::Window;

/// What was missing where every configuration failed is worth more from then on: those that still have it are kept
/// rather than others. Decides what is tried first, never what is true.
#[derive(Debug)]
pub(crate) struct Lessons {
    /// How often each state was missing at the present completion.
    blame: Vec<u32>,
    /// How much what leads to each state is worth.
    worth: Vec<u32>,
    /// Classes of which operations of unknown outcome are to be spared, and how much each is worth. Unlike other
    /// operations they stay available, so that they can be missed long after they were used.
    spared: Vec<(ClassId, u32)>,
}

/// What one failure teaches.
const LESSON: u32 = 4;
/// What sparing an operation of unknown outcome is worth, each time it is missed.
const SPARE: u32 = 8;
/// An operation of unknown outcome is not made dearer than this.
const DEAREST: u32 = 24;
/// More ways to a state than this are not worth more.
const PLENTY: u32 = 4;

impl Lessons {
    pub(crate) fn new<B: Mask>(supply: Option<&Supply<B>>) -> Lessons {
        let states = supply.map_or(0, |supply| supply.values().len());
        Lessons {
            blame: vec![0; states],
            worth: vec![0; states],
            spared: Vec::new(),
        }
    }

    /// A configuration failed for want of this state.
    pub(crate) fn blame(&mut self, place: usize) {
        self.blame[place] += 1;
    }

    pub(crate) fn forget_blame(&mut self) {
        self.blame.fill(0);
    }

    /// Every configuration failed, where a call was demanded that needs this state.
    pub(crate) fn learn<B: Mask>(&mut self, window: &Window<B>, needed: Option<usize>) {
        if window.supply.is_none() {
            return;
        }
        let all: u32 = self.blame.iter().sum();
        for (worth, &blame) in self.worth.iter_mut().zip(&self.blame) {
            *worth += (LESSON * blame).div_ceil(all.max(1));
        }
        if let Some(place) = needed {
            self.worth[place] += LESSON;
        }
    }

    /// The trouble is over.
    pub(crate) fn forget_half(&mut self) {
        for worth in &mut self.worth {
            *worth /= 2;
        }
    }

    /// Operations of this class and of unknown outcome should be kept for later.
    pub(crate) fn spare(&mut self, class: ClassId) {
        match self.spared.iter_mut().find(|(spared, _)| *spared == class) {
            Some((_, worth)) => *worth += SPARE,
            None => self.spared.push((class, SPARE)),
        }
    }

    /// Classes of unknown outcome that lead to what is missing most, but those that are dear already.
    pub(crate) fn wanted<B: Mask>(&self, supply: &Supply<B>) -> Vec<ClassId> {
        let most = self.worth.iter().copied().max().unwrap_or(0);
        let missing = supply.values().iter().zip(&self.worth);
        let missing = missing.filter(|(_, worth)| 2 * **worth > most);
        let dear = |class: &ClassId| {
            let known = self.spared.iter().find(|(spared, _)| spared == class);
            known.is_some_and(|&(_, worth)| worth >= DEAREST)
        };
        let classes = missing.flat_map(|(value, _)| value.optional.iter().copied());
        classes.filter(|class| !dear(class)).collect()
    }

    /// What a configuration still has of what is hard to come by.
    pub(crate) fn worth<B: Mask>(&self, window: &Window<B>, here: &Configuration<B>, usages: &Usages) -> i64 {
        let Some(supply) = &window.supply else { return 0 };
        let mut sum = 0;
        for (value, &worth) in supply.values().iter().zip(&self.worth) {
            if worth > 0 {
                let open = value.makers.without(&here.done).count() as u32;
                let ways = open + u32::from(value.state == here.state);
                sum += i64::from(worth * ways.min(PLENTY));
            }
        }
        for &(class, worth) in &self.spared {
            sum -= i64::from(worth) * i64::from(usages.count(here.used, class));
        }
        sum
    }
}
