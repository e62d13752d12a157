#!/usr/bin/env ruby
# frozen_string_literal: true

# exec.rb - an exec handler to start from: a process for each job.
#
#   handler "prints" { type = "exec"  command = {"/usr/share/outfall/handlers/exec.rb"} }
#
# The example takes the fingerprint of a body, a chain of SHA-256 over its slices. The effect is a line
# in the file $FINGERPRINTS. By hand: echo hello | FINGERPRINTS=/dev/stdout ./exec.rb

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
EXIT_STATUS = { 'done' => 0, 'reject' => 65, 'retry' => 75, 'return' => 75 }.freeze

class Job
  attr_reader :id, :facts, :body, :checkpoint # facts: queue, attempt, headers and so on

  def initialize
    @stop = false
    trap('TERM') { @stop = true }
    @body = $stdin.binmode.read
    @facts = {}
    begin
      @facts = JSON.parse(IO.for_fd(3, 'rb', autoclose: false).gets) # notices would follow
      @says = IO.for_fd(4, 'wb').tap { |says| says.sync = true }
    rescue SystemCallError, ArgumentError, TypeError, JSON::ParserError
      nil # started by hand
    end
    @id = @facts.fetch('id', 'by-hand')
    @checkpoint = @facts['checkpoint']
  end

  # Cheap: ask between two slices of work. Then leave a checkpoint, and return the job.
  def should_stop? = @stop

  # progress: 0.5, note: 'half of it', checkpoint: 'line 7', extend_ms: 60_000
  def tell(**facts) = @says&.write("#{JSON.generate(facts)}\n")
end

def told(error) = { class: error.class.name, message: error.message.scrub, backtrace: error.backtrace || [] }

# Nothing is done; what makes no sense never is. An exception as a reason is told whole.
def judge(returned)
  return { outcome: 'done' } if returned.nil?

  known = returned.is_a?(Hash) && EXIT_STATUS.include?(returned[:outcome].to_s)
  raise TypeError, "handle() returned #{returned.inspect}" unless known

  reason = returned[:reason]
  return returned if reason.nil?

  error = reason.is_a?(Exception) ? { error: told(reason) } : {}
  error.merge(returned, reason: reason.to_s.scrub)
end

$stdout.sync = true # prints are in the log at once
job = Job.new
begin
  result = judge(handle(job))
rescue StandardError, NotImplementedError => e
  job.tell(error: told(e))
  raise
end
job.tell(checkpoint: result[:checkpoint]) if result[:checkpoint]
if result[:reason]
  job.tell(error: result[:error] || { message: result[:reason] })
  warn result[:reason]
end
exit EXIT_STATUS.fetch(result[:outcome].to_s)
