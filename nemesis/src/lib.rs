//! Injects partitions, kills, pauses and other faults into a cluster, and undoes them.
