package org.sparkaccel

import org.scalatest.concurrent.Eventually
import org.scalatest.time.{Millis, Seconds, Span => Time}
import org.scalatest.Assertions

/** Waits for what happens on its own time, in another thread or process. */
object Wait extends Eventually with Assertions {
  override implicit val patienceConfig: PatienceConfig = PatienceConfig(Time(30, Seconds), Time(20, Millis))

  def until(what: String)(condition: => Boolean): Unit = eventually(assert(condition, s"waited for: $what"))
}
