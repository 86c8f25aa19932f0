//! One test program for the crate, so that it is linked once.

mod browser;
mod compare_folders;
mod drawings;
mod golden_metrics;
mod metric_properties;
mod report_in_browser;
