#!/usr/bin/env ruby
# frozen_string_literal: true

# pool.rb - a pool handler to start from: a process that stays and gets one job after another.
#
#   handler "prints" { type = "pool"  command = {"/usr/share/outfall/handlers/pool.rb"}  processes = 4 }
#
# The example takes the fingerprint of a body, a chain of SHA-256 over its slices. The effect is a line
# in the file $FINGERPRINTS.

require 'digest'
require 'json'

SLICE_BYTES = 64 * 1024
WORK_SECONDS = Float(ENV.fetch('WORK_SECONDS', '0')) # for each slice, to make it look like work

# --- the part you write ---------------------------------------------------------------------------
# nil: done. Or { outcome: 'retry', 'reject' or 'return' }, if you like with reason:, after_ms: and
# checkpoint:. An exception is a retry.
def handle(job)
  return { outcome: 'reject', reason: 'an empty body has no fingerprint' } if job.body.empty?

  # An earlier run was interrupted? Go on where it stopped.
  done, _, digest = (job.checkpoint || '0 ').partition(' ')
  at = Integer(done)
  puts "#{job.id}: #{job.body.bytesize} bytes, from byte #{at}"
  while at < job.body.bytesize
    return { outcome: 'return', checkpoint: "#{at} #{digest}" } if job.should_stop?

    sleep WORK_SECONDS
    slice = job.body.byteslice(at, SLICE_BYTES)
    digest = Digest::SHA256.hexdigest(digest + slice)
    at += slice.bytesize
    job.tell(progress: at.fdiv(job.body.bytesize))
  end
  File.write(ENV.fetch('FINGERPRINTS'), "#{job.id} #{digest}\n", mode: 'a') # the effect: last, in one step
  nil
end

# --- the part you copy ----------------------------------------------------------------------------
class Job
  class << self
    attr_accessor :drain_at # when the time of a drain is up, for all

    def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end
  self.drain_at = Float::INFINITY

  attr_reader :id, :facts, :body, :checkpoint # facts: queue, attempt, headers and so on

  def initialize(facts, body)
    @facts = facts
    @body = body
    @id, @checkpoint = facts.values_at('id', 'checkpoint')
    @cancelled = false
  end

  def cancel = @cancelled = true

  # Cheap: ask between two slices of work. Then leave a checkpoint, and return the job.
  def should_stop? = @cancelled || time_left <= 0

  # Seconds, once the worker drains; until then there is no limit.
  def time_left = Job.drain_at - Job.now

  # progress: 0.5, note: 'half of it', checkpoint: 'line 7', extend_ms: 60_000
  def tell(**said) = say(type: 'progress', id:, **said)
end

# stdin and stdout are the protocol's alone: your prints, and your children's, go to the log.
IN = $stdin.dup.binmode
OUT = $stdout.dup.binmode
$stdin.reopen(File::NULL)
$stdout.reopen($stderr)
[OUT, $stdout].each { |io| io.sync = true }

def say(line) = OUT.write("#{JSON.generate(line)}\n")

OUTCOMES = %w[done retry reject return].freeze

def told(error) = { class: error.class.name, message: error.message.scrub, backtrace: error.backtrace || [] }

# Nothing is done; what makes no sense never is. An exception as a reason is told whole.
def judge(returned)
  return { outcome: 'done' } if returned.nil?

  known = returned.is_a?(Hash) && OUTCOMES.include?(returned[:outcome].to_s)
  raise TypeError, "handle() returned #{returned.inspect}" unless known

  reason = returned[:reason]
  return returned if reason.nil?

  error = reason.is_a?(Exception) ? { error: told(reason) } : {}
  error.merge(returned, reason: reason.to_s.scrub)
end

def answer(job, result) = "#{JSON.generate({ type: 'result', id: job.id }.merge(result))}\n"

def run(job)
  answer(job, judge(handle(job)))
rescue Exception => e # exit, and what JSON cannot write, too: each job gets its answer
  warn e.full_message(highlight: false)
  answer(job, { outcome: 'retry', reason: e.message.scrub, error: told(e) })
end

jobs = {}
inbox = Queue.new
Thread.abort_on_exception = true
worker = Thread.new do # this thread works, the main one listens
  while (job = inbox.pop)
    line = run(job)
    jobs.delete(job.id)
    OUT.write(line)
  end
end
trap('TERM') do
  jobs.each_value(&:cancel)
  exit # out of the read below; the running job still gets its answer
end

begin
  say(type: 'ready', concurrency: 1)
  while (line = IN.gets)&.end_with?("\n")
    told = JSON.parse(line)
    case told['type']
    when 'job'
      body = IN.read(told['bytes'])
      break unless body&.bytesize == told['bytes'] # the worker died in the middle of it

      inbox << (jobs[told['id']] = Job.new(told, body))
    when 'drain' then Job.drain_at = Job.now + told.fetch('remaining_ms', Float::INFINITY) / 1000.0
    when 'cancel' then jobs[told['id']]&.cancel
    end
  end
ensure
  inbox.close
  worker.join
end
