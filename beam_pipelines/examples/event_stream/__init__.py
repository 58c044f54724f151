"""The parts of the packaged Real-Time Event Processor."""
