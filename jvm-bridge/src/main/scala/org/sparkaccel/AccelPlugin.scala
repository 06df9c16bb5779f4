package org.sparkaccel
class AccelPlugin
