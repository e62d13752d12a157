#!/usr/bin/env php
<?php
// pool.php - a pool handler to start from: a process that stays and gets one job after another.
//
//   handler "prints" { type = "pool"  command = {"/usr/share/outfall/handlers/pool.php"}  processes = 4 }
//
// The example takes the fingerprint of a body, a chain of SHA-256 over its slices. The effect is a line
// in the file $FINGERPRINTS.

declare(strict_types=1);

const SLICE_BYTES = 64 * 1024;
define('WORK_SECONDS', (float) getenv('WORK_SECONDS')); // for each slice, to make it look like work

// --- the part you write ---------------------------------------------------------------------------
/**
 * Null: done. Or ['outcome' => 'retry', 'reject' or 'return'], if you like with 'reason', 'after_ms' and
 * 'checkpoint'. An exception is a retry.
 */
function handle(Job $job): ?array
{
    $size = strlen($job->body);
    if ($size === 0) {
        return ['outcome' => 'reject', 'reason' => 'an empty body has no fingerprint'];
    }
    // An earlier run was interrupted? Go on where it stopped.
    [$at, $digest] = explode(' ', $job->checkpoint ?? '0 ', 2);
    $at = (int) $at;
    echo "{$job->id}: $size bytes, from byte $at\n";
    while ($at < $size) {
        if ($job->shouldStop()) {
            return ['outcome' => 'return', 'checkpoint' => "$at $digest"];
        }
        usleep((int) (WORK_SECONDS * 1e6));
        $digest = hash('sha256', $digest . substr($job->body, $at, SLICE_BYTES));
        $at = min($at + SLICE_BYTES, $size);
        $job->tell(progress: $at / $size);
    }
    // The effect: last, and in one step.
    if (file_put_contents((string) getenv('FINGERPRINTS'), "{$job->id} $digest\n", FILE_APPEND) === false) {
        throw new RuntimeException('cannot write to the file of fingerprints');
    }
    return null;
}

// --- the part you copy ----------------------------------------------------------------------------
const OUTCOMES = ['done', 'retry', 'reject', 'return'];

/** @return array<string, mixed> */
function told(Throwable $error): array
{
    return [
        'class' => $error::class,
        'message' => $error->getMessage(),
        'backtrace' => ["{$error->getFile()}:{$error->getLine()}", ...explode("\n", $error->getTraceAsString())],
    ];
}

/**
 * Nothing is done; what makes no sense never is. An exception as a reason is told whole.
 *
 * @return array<string, mixed>
 */
function judge(mixed $returned): array
{
    $result = $returned ?? ['outcome' => 'done'];
    if (!is_array($result) || !in_array($result['outcome'] ?? null, OUTCOMES, true)) {
        throw new UnexpectedValueException('handle() returned ' . print_r($result, true));
    }
    $reason = $result['reason'] ?? null;
    if ($reason instanceof Throwable) {
        return ['error' => told($reason), ...$result, 'reason' => $reason->getMessage()];
    }
    return $reason === null ? $result : [...$result, 'reason' => (string) $reason];
}

final class Job
{
    public readonly string $id;
    public readonly ?string $checkpoint;
    public bool $cancelled = false;

    /** @param array<string, mixed> $facts queue, attempt, headers and so on */
    public function __construct(
        private readonly Pool $pool,
        public readonly array $facts,
        public readonly string $body,
    ) {
        $this->id = $facts['id'];
        $this->checkpoint = $facts['checkpoint'] ?? null;
    }

    /** Ask between two slices of work: nobody listens meanwhile. Then leave a checkpoint, and return the job. */
    public function shouldStop(): bool
    {
        $this->pool->listen();
        return $this->cancelled || $this->timeLeft() <= 0;
    }

    /** Seconds, once the worker drains; until then there is no limit. */
    public function timeLeft(): float
    {
        return $this->pool->drainAt - hrtime(true) / 1e9;
    }

    /** progress: 0.5, note: 'half of it', checkpoint: 'line 7', extend_ms: 60000 */
    public function tell(mixed ...$facts): void
    {
        $this->pool->say(['type' => 'progress', 'id' => $this->id, ...$facts]);
    }
}

final class Pool
{
    public float $drainAt = INF; // when the time of a drain is up, for all
    /** @var array<Job> by id, the oldest first: those that have no answer yet */
    private array $jobs = [];

    /**
     * @param resource $in
     * @param resource $out
     */
    public function __construct(private $in, private $out)
    {
    }

    public function run(): void
    {
        $this->say(['type' => 'ready', 'concurrency' => 1]);
        while ($this->jobs !== [] || $this->hear()) {
            if ($this->jobs !== []) {
                $this->answer(reset($this->jobs));
            }
        }
    }

    /** @param array<string, mixed> $line */
    public function say(array $line): void
    {
        fwrite($this->out, $this->encode($line));
    }

    /** @param array<string, mixed> $line */
    private function encode(array $line): string
    {
        return json_encode($line, JSON_INVALID_UTF8_SUBSTITUTE | JSON_THROW_ON_ERROR) . "\n";
    }

    /** What has been said meanwhile. */
    public function listen(): void
    {
        do {
            [$in, $none] = [[$this->in], null];
        } while (stream_select($in, $none, $none, 0) === 1 && $this->hear());
    }

    /** Waits for one line, and the body behind a job's. False: there are no more. */
    private function hear(): bool
    {
        $line = fgets($this->in);
        if ($line === false || !str_ends_with($line, "\n")) {
            return false;
        }
        $told = json_decode($line, true, flags: JSON_THROW_ON_ERROR);
        if ($told['type'] === 'job') {
            $body = (string) stream_get_contents($this->in, $told['bytes']);
            if (strlen($body) < $told['bytes']) {
                return false; // the worker died in the middle of it
            }
            $this->jobs[$told['id']] = new Job($this, $told, $body);
        } elseif ($told['type'] === 'drain') {
            $this->drainAt = hrtime(true) / 1e9 + ($told['remaining_ms'] ?? INF) / 1e3;
        } elseif ($told['type'] === 'cancel' && isset($this->jobs[$told['id']])) {
            $this->jobs[$told['id']]->cancelled = true;
        }
        return true;
    }

    private function answer(Job $job): void
    {
        $result = ['type' => 'result', 'id' => $job->id];
        try {
            $line = $this->encode([...$result, ...judge(handle($job))]);
        } catch (Throwable $error) { // also about what JSON cannot write: each job gets its answer
            file_put_contents('php://stderr', "$error\n");
            $line = $this->encode([...$result, 'outcome' => 'retry', 'reason' => $error->getMessage(), 'error' => told($error)]);
        }
        unset($this->jobs[$job->id]);
        fwrite($this->out, $line);
    }
}

// stdin and stdout are the protocol's alone: what takes their place has their numbers, so that your
// prints, and your children's, go to the log.
$pool = new Pool(fopen('php://stdin', 'rb'), fopen('php://stdout', 'wb'));
fclose(STDIN);
$stdin = fopen('/dev/null', 'rb');
fclose(STDOUT);
$stdout = fopen('php://stderr', 'wb');
$pool->run();
