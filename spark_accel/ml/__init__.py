"""PySpark's KMeans, LogisticRegression and NaiveBayes with their fits on the device, for those who want to say so.

Where the plugin is on, PySpark's own classes do the same, and these need not be imported. The work is in the bridge.
"""
