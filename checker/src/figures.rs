//! The histories that the figures of the documentation are about, so that anyone can repeat them.

use crate::generate::{Bug, Mix, Simulation, Values};

/// A history to measure.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What it is, as tables call it.
    pub name: &'static str,
    /// How it is made.
    pub simulation: Simulation,
}

/// Every history of the table.
///
/// Illegal ones come of stale reads and lost updates: a value that nobody ever wrote is found at a glance and
/// measures nothing.
pub fn figures() -> Vec<Figure> {
    let registers = |operations, processes| Simulation {
        operations,
        processes,
        ..Simulation::default()
    };
    let figure = |name, simulation| Figure { name, simulation };
    vec![
        figure(
            "1 key, 10000 operations, 20 clients, 5 values",
            registers(10_000, 20),
        ),
        figure(
            "1 key, 10000 operations, 50 clients, 5 values",
            registers(10_000, 50),
        ),
        figure(
            "1 key, 10000 operations, 100 clients, 5 values",
            registers(10_000, 100),
        ),
        figure(
            "1 key, 100000 operations, 5 clients, 5 values",
            registers(100_000, 5),
        ),
        figure(
            "1000 keys, 1000000 operations, 20 clients, 5 values",
            Simulation {
                keys: 1000,
                ..registers(1_000_000, 20)
            },
        ),
        figure(
            "1 key, 1000000 operations, 100 clients, distinct values, 10% unknown",
            Simulation {
                values: Values::Distinct,
                mix: Mix {
                    get: 2,
                    set: 2,
                    cas: 1,
                    ..Mix::default()
                },
                unknown: 0.1,
                ..registers(1_000_000, 100)
            },
        ),
        figure(
            "1000 operations, 10% unknown, legal",
            Simulation {
                unknown: 0.1,
                ..registers(1000, 5)
            },
        ),
        figure(
            "1000 operations, 13 unknown, illegal",
            Simulation {
                unknown: 0.013,
                bug: Bug::StaleReads(0.02),
                ..registers(1000, 5)
            },
        ),
        figure(
            "300 operations, 20% unknown, 5 values, illegal",
            Simulation {
                unknown: 0.2,
                bug: Bug::LostUpdates(0.05),
                ..registers(300, 5)
            },
        ),
        figure(
            "2000 appends and reads of 50 clients, illegal",
            Simulation {
                mix: Mix {
                    get: 1,
                    append: 1,
                    ..Mix::default()
                },
                values: Values::Distinct,
                bug: Bug::StaleReads(0.01),
                ..registers(2000, 50)
            },
        ),
    ]
}

/// A history of so many operations for the plot of cost against length: ten operations of every thousand are of
/// unknown outcome, five clients use five values, and there is a key for every thousand operations.
pub fn of_length(operations: u64) -> Simulation {
    Simulation {
        operations,
        keys: (operations / 1000).max(1),
        unknown: 0.01,
        ..Simulation::default()
    }
}
