//! The command line of Ordeal's runner.

fn main() {}
