package Rules;

# Every rule of the review, once: its severity, what it finds, and what to do about it.
#
# high    somebody should look before this goes anywhere; the verdict becomes "escalate"
# medium  probably a fault
# low     worth a glance
# note    a fact, not a fault

use strict;
use warnings;

our @SEVERITIES = qw(high medium low note);
my $place = 0;
our %RANK = map { $_ => $place++ } @SEVERITIES;

my @TABLE = (
    # id          severity  name                        what it finds                                          what to do
    ['EPR-S001', 'high',   'aws-access-key',           'An AWS access key id.',                               'Revoke the key, then remove it from the files and the history.'],
    ['EPR-S002', 'high',   'private-key',              'A private key with its body.',                        'Replace the key pair; a key that was committed is known.'],
    ['EPR-S003', 'high',   'github-token',             'A GitHub token.',                                     'Revoke the token in the settings of the account it belongs to.'],
    ['EPR-S004', 'high',   'gitlab-token',             'A GitLab token.',                                     'Revoke the token in the settings of the account it belongs to.'],
    ['EPR-S005', 'high',   'slack-token',              'A Slack token or incoming webhook.',                  'Revoke it in the settings of the workspace.'],
    ['EPR-S006', 'high',   'stripe-key',               'A live Stripe key. Test keys are not reported.',      'Roll the key in the Stripe dashboard.'],
    ['EPR-S007', 'high',   'google-api-key',           'A Google API key.',                                   'Delete the key, or restrict it if it is meant to be public.'],
    ['EPR-S008', 'medium', 'json-web-token',           'A signed JSON web token.',                            'Check whether it has expired; if not, end its session.'],
    ['EPR-S009', 'high',   'provider-token',           'A token with a known provider prefix.',               'Revoke the token with that provider.'],
    ['EPR-S010', 'medium', 'hard-coded-credential',    'A password, secret or key assigned as a literal.',    'Read it from the environment or a secret store, and change it.'],
    ['EPR-S011', 'medium', 'credential-in-url',        'A URL with a user name and a password.',              'Take the password out of the URL, and change it.'],
    ['EPR-S012', 'high',   'environment-file',         'A tracked .env file with a secret value.',            'Untrack the file, ignore it, and change the value.'],
    ['EPR-C001', 'high',   'merge-conflict',           'A merge conflict that was committed.',                'Resolve it.'],
    ['EPR-C002', 'low',    'merge-leftover',           'A .orig or .rej file that a merge left behind.',      'Remove the file.'],
    ['EPR-L001', 'high',   'shell-syntax',             'A shell script that does not parse.',                 'Fix the syntax; the script cannot run to its end.'],
    ['EPR-L002', 'medium', 'json-syntax',              'A JSON file that does not parse.',                    'Fix the syntax, or name the file .jsonc or .json5 if that is what it is.'],
    ['EPR-L003', 'medium', 'python-syntax',            'A Python file that does not compile.',                'Fix the syntax.'],
    ['EPR-L004', 'low',    'mixed-line-endings',       'CRLF and LF line endings in one file.',               'Choose one and say so in .gitattributes.'],
    ['EPR-L005', 'note',   'open-markers',             'TODO, FIXME and XXX markers, counted.',               'Nothing by itself.'],
    ['EPR-L006', 'medium', 'broken-symlink',           'A symbolic link to nothing, or out of the checkout.', 'Point it at a tracked file, or remove it.'],
    ['EPR-L007', 'low',    'executable-without-shebang', 'An executable text file without a #! line.',        'Add the line, or take the executable bit away.'],
    ['EPR-L008', 'medium', 'download-into-shell',      'A download that is piped into a shell.',              'Download, check a digest, then run.'],
    ['EPR-L009', 'medium', 'eval-of-variable',         'eval of a variable in a shell script.',               'Call the command directly, with its arguments as words.'],
    ['EPR-L010', 'medium', 'rm-of-variable-root',      'rm -rf of "$VARIABLE/": everything, when it is empty.', 'Write ${VARIABLE:?} so that an empty one stops the script.'],
    ['EPR-L011', 'high',   'hidden-direction',         'Bidirectional control characters in source code (CVE-2021-42574).', 'Remove them; what is shown is not what runs.'],
    ['EPR-L012', 'medium', 'shellcheck-error',         'An error reported by the installed shellcheck.',      'See the number on the shellcheck wiki.'],
    ['EPR-D001', 'medium', 'test-deleted',             'A test file that the change deletes.',                'Make sure that what it proved is still proved.'],
    ['EPR-D002', 'low',    'ci-changed',               'The change touches what CI runs.',                    'Read it as code that runs with the project\'s credentials.'],
    ['EPR-D003', 'low',    'lockfile-alone',           'A lock file changed without its manifest.',           'Make sure that an update was meant.'],
    ['EPR-D004', 'low',    'made-executable',          'A file became executable.',                           'Make sure that it was meant.'],
    ['EPR-D005', 'low',    'failure-ignored',          'An added "|| true" hides a failure.',                 'Handle the failure that is expected, and only that one.'],
    ['EPR-D006', 'medium', 'hooks-skipped',            'An added git command with --no-verify.',              'Let the hooks run.'],
    ['EPR-D007', 'high',   'tls-check-disabled',       'Added code that switches certificate checks off.',    'Trust the right certificate instead of every one.'],
    ['EPR-D008', 'medium', 'world-writable',           'An added chmod that lets everybody write.',           'Grant what is needed to whom it is needed.'],
    ['EPR-D009', 'low',    'test-skipped',             'An added mark that skips a test.',                    'Give it a reason and a date, or fix the test.'],
    ['EPR-D010', 'low',    'attributes-changed',       'The change touches .gitattributes.',                  'Make sure that no file is hidden from a diff that way.'],
    ['EPR-Z001', 'high',   'huge-file',                'A tracked file of more than 10 MiB.',                 'Keep it elsewhere; every clone carries it for ever.'],
    ['EPR-Z002', 'low',    'large-file',               'A tracked file of more than 1 MiB.',                  'Make sure that it belongs here.'],
    ['EPR-Z003', 'low',    'binary-file',              'A tracked program, archive or other build product.',  'Build it from source, or keep it elsewhere.'],
    ['EPR-Z004', 'low',    'generated-files',          'Tracked files that tools make anew.',                 'Untrack and ignore them.'],
);

our @IDS = map { $_->[0] } @TABLE;
our %RULE = map { $_->[0] => {id => $_->[0], severity => $_->[1], name => $_->[2], finds => $_->[3], advice => $_->[4]} } @TABLE;

1;
