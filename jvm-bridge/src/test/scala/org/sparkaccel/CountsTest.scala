package org.sparkaccel

import java.io.{ByteArrayInputStream, ByteArrayOutputStream, ObjectInputStream, ObjectOutputStream}

import org.scalatest.funsuite.AnyFunSuite

class CountsTest extends AnyFunSuite {
  private val five = Counts(5, 50, 500)
  private val six = Counts(6, 60, 600)

  private def done(tally: Tally): Counts = Counts.sum(tally.spans.values.map(_.done))

  test("what a daemon did before this executor came does not count") {
    val tally = new Tally

    tally.read("daemon", Map("resnet50" -> five))
    tally.read("daemon", Map("resnet50" -> six))

    assert(done(tally) == Counts(1, 10, 100))
  }

  test("what a daemon did that took the place of the first one counts from its start") {
    val tally = new Tally

    tally.read("first", Map("resnet50" -> five))
    tally.read("second", Map("resnet50" -> six))

    assert(done(tally) == six)
  }

  test("a model that is loaded anew, and counts from 0 again, adds to what it did before") {
    val tally = new Tally

    tally.read("daemon", Map.empty)
    tally.read("daemon", Map("resnet50" -> six, "identity" -> five))
    tally.read("daemon", Map("identity" -> five))
    tally.read("daemon", Map("resnet50" -> five, "identity" -> six))

    assert(done(tally) == six + five + six)
  }

  test("a daemon that two executors watch counts once") {
    val total = new DriverTotal

    total.receive(Report.message("node", Map("daemon" -> Span(Counts.Zero, five))))
    total.receive(Report.message("node", Map("daemon" -> Span(five, six))))

    assert(total.total == six)
  }

  test("the daemons of two nodes count each, though their sockets have one path") {
    val total = new DriverTotal

    total.receive(Report.message("node", Map("daemon" -> Span(Counts.Zero, five))))
    total.receive(Report.message("another", Map("daemon" -> Span(Counts.Zero, six))))

    assert(total.total == five + six)
  }

  test("a report that comes twice or too late changes nothing") {
    val total = new DriverTotal
    val early = Report.message("node", Map("daemon" -> Span(Counts.Zero, five)))
    val late = Report.message("node", Map("daemon" -> Span(Counts.Zero, six)))

    Seq(early, late, late, early).foreach(total.receive)

    assert(total.total == six)
  }

  test("a report can be read where our classes can't be loaded") {
    val bytes = new ByteArrayOutputStream
    new ObjectOutputStream(bytes).writeObject(Report.message("node", Map("daemon" -> Span(five, six))))

    val read = new ObjectInputStream(new ByteArrayInputStream(bytes.toByteArray)) {
      override def resolveClass(description: java.io.ObjectStreamClass): Class[_] =
        Class.forName(description.getName, false, ClassLoader.getPlatformClassLoader)
    }.readObject()

    assert(Report.spans(read.asInstanceOf[Report.Message]) == Map("node daemon" -> Span(five, six)))
  }
}
