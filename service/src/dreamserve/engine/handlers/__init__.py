"""What each verb does, a page a verb. Not when it runs: that is the scheduler's."""
