//! When the operations of a witness take effect.

use super::Axis;
use crate::history::{History, OpId, Outcome};

/// What a witness says of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    /// A moment within the operation's interval; none if the order does not keep to intervals, as that of a
    /// sequentially consistent history need not.
    pub(super) at: Option<u64>,
    /// Its place in the order of its subhistory.
    pub(super) place: u32,
}

/// A moment for every operation of the orders, so that moments follow the order and lie within the intervals.
///
/// Each operation can take effect no earlier than the latest invocation up to it in the order, and no later than
/// the earliest completion from it on. Both bounds grow along the order, and so does the middle between them.
pub(super) fn points(history: &History, orders: &[Vec<OpId>], axis: Axis) -> Vec<Option<Point>> {
    let mut points = vec![None; history.len()];
    for order in orders {
        let mut latest: Vec<u64> = Vec::with_capacity(order.len());
        let mut bound = u64::MAX;
        for &op in order.iter().rev() {
            // What has an unknown outcome may take effect after something came back.
            let certain = history.operation(op).outcome() != Outcome::Info;
            let end = axis.end(history, op).filter(|_| certain);
            bound = bound.min(end.unwrap_or(u64::MAX));
            latest.push(bound);
        }
        latest.reverse();
        let (mut earliest, mut last) = (0, 0);
        let mut moments = Vec::with_capacity(order.len());
        for (&op, &latest) in order.iter().zip(&latest) {
            earliest = axis.start(history, op).max(earliest);
            if earliest > latest {
                break;
            }
            let middle = match latest {
                u64::MAX => earliest,
                latest => earliest + (latest - earliest) / 2,
            };
            last = middle.max(last);
            moments.push(last);
        }
        let keeps = moments.len() == order.len();
        for (place, &op) in order.iter().enumerate() {
            points[op.0 as usize] = Some(Point {
                at: moments.get(place).copied().filter(|_| keeps),
                place: place as u32,
            });
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::Simulation;
    use crate::{CheckOptions, Verdict, check};

    #[test]
    fn moments_follow_the_order_and_lie_within_the_intervals() {
        for seed in 0..20 {
            let simulation = Simulation {
                seed,
                operations: 400,
                keys: 3,
                unknown: 0.1,
                clock: 1 + seed * 50_000,
                ..Simulation::default()
            };
            let history = simulation.history().expect("valid");
            let verdict = check(&history, &CheckOptions::default()).expect("judged").verdict;
            let Verdict::Linearizable(witness) = verdict else {
                panic!("seed {seed}: a healthy store")
            };
            let orders: Vec<Vec<OpId>> = witness.orders.into_iter().map(|order| order.order).collect();
            let points = points(&history, &orders, Axis::Time);
            for order in &orders {
                let mut last = 0;
                for &op in order {
                    let operation = history.operation(op);
                    let at = points[op.0 as usize]
                        .and_then(|point| point.at)
                        .expect("a moment");
                    assert!(at >= last, "seed {seed}: moments follow the order");
                    assert!(
                        at >= operation.invoked_at().0,
                        "seed {seed}: not before its invocation"
                    );
                    let end = operation
                        .completed_at()
                        .filter(|_| operation.outcome() != Outcome::Info);
                    assert!(
                        end.is_none_or(|end| at <= end.0),
                        "seed {seed}: not after its completion"
                    );
                    last = at;
                }
            }
        }
    }

    #[test]
    fn an_order_against_time_has_places_but_no_moments() {
        let history = Simulation {
            operations: 10,
            processes: 1,
            ..Simulation::default()
        };
        let history = history.history().expect("valid");
        let backwards: Vec<OpId> = (0..10).rev().map(OpId).collect();
        let points = points(&history, &[backwards], Axis::Time);
        assert_eq!(points[9], Some(Point { at: None, place: 0 }));
        assert_eq!(points[0], Some(Point { at: None, place: 9 }));
    }
}
