#!/usr/bin/env php
<?php
// exec.php - an exec handler to start from: a process for each job.
//
//   handler "prints" { type = "exec"  command = {"/usr/share/outfall/handlers/exec.php"} }
//
// The example takes the fingerprint of a body, a chain of SHA-256 over its slices. The effect is a line
// in the file $FINGERPRINTS. By hand: echo hello | FINGERPRINTS=/dev/stdout ./exec.php

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
const EXIT_STATUS = ['done' => 0, 'reject' => 65, 'retry' => 75, 'return' => 75];

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
    if (!is_array($result) || !in_array($result['outcome'] ?? null, array_keys(EXIT_STATUS), true)) {
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
    private bool $stop = false;

    /**
     * @param array<string, mixed> $facts queue, attempt, headers and so on; empty when started by hand
     * @param resource|null $says
     */
    public function __construct(
        public readonly array $facts,
        public readonly string $body,
        private $says,
    ) {
        $this->id = $facts['id'] ?? 'by-hand';
        $this->checkpoint = $facts['checkpoint'] ?? null;
        if (function_exists('pcntl_signal')) { // without this extension SIGTERM ends us, and leaves no checkpoint
            pcntl_async_signals(true);
            pcntl_signal(SIGTERM, fn () => $this->stop = true);
        }
    }

    /** Cheap: ask between two slices of work. Then leave a checkpoint, and return the job. */
    public function shouldStop(): bool
    {
        return $this->stop;
    }

    /** progress: 0.5, note: 'half of it', checkpoint: 'line 7', extend_ms: 60000 */
    public function tell(mixed ...$facts): void
    {
        if ($this->says !== null) {
            fwrite($this->says, json_encode($facts, JSON_INVALID_UTF8_SUBSTITUTE | JSON_THROW_ON_ERROR) . "\n");
        }
    }
}

// The first line of descriptor 3 is the job; notices follow. By hand it is not there.
$told = @fopen('php://fd/3', 'rb');
$facts = $told !== false ? json_decode((string) fgets($told), true) : null;
$says = is_array($facts) ? fopen('php://fd/4', 'wb') : null;
$job = new Job($facts ?? [], (string) stream_get_contents(STDIN), $says);
try {
    $result = judge(handle($job));
} catch (Throwable $error) {
    $job->tell(error: told($error));
    throw $error;
}
if (isset($result['checkpoint'])) {
    $job->tell(checkpoint: $result['checkpoint']);
}
if (isset($result['reason'])) {
    $job->tell(error: $result['error'] ?? ['message' => $result['reason']]);
    fwrite(STDERR, "{$result['reason']}\n");
}
exit(EXIT_STATUS[$result['outcome']]);
