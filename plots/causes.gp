# Redraw with `gnuplot causes.gp` in the folder that holds this, style.gp and the data.
load 'style.gp'
data = 'causes.tsv'

# Causes from the ground up: what was evicted in warm colours, what was there in cold ones.
causes = 'source statement working unread arithmetic cut'
colours = '#D55E00 #F0A04B #F6D5A8 #0072B2 #8FBFDD #BBBBBB'
titles = "'source evicted' 'statement evicted' 'working evicted' 'unread' 'arithmetic' 'cut'"
total(k) = sum [i = 1:k] column(word(causes, i))

# One pass over the rows: where each policy's bars begin and end, which causes there are, the title.
policies = ''; froms = ''; tos = ''; model = ''; dataset = ''; n_min = 1e18; n_max = 0; last = 0; rows = 0
array most[6]
do for [k = 1:6] { most[k] = 0 }
note_bar(p, x) = p eq word(policies, words(policies)) ? (last = x, 0) \
    : (tos = words(policies) ? tos.sprintf(' %.2f', last) : tos, policies = policies.' '.p, froms = froms.sprintf(' %.2f', x), last = x, 0)
note_text(m, d) = (model = m, dataset = d, 0)
note_n(n) = (n_min = n < n_min ? n : n_min, n_max = n > n_max ? n : n_max, rows = rows + 1, 0)
note_most(k, v) = (most[k] = v > most[k] ? v : most[k], 0)
stats data using (note_bar(strcol('policy'), column('x')) + note_n(column('n')) + note_text(strcol('model'), strcol('dataset')) \
    + (sum [k = 1:6] note_most(k, column(word(causes, k))))) nooutput
tos = tos.sprintf(' %.2f', last)
present = ''
do for [k = 1:6] { if (most[k] > 0) { present = present.' '.k } }
counts = n_min == n_max ? sprintf('n = %.0f', n_max) : sprintf('n = %.0f to %.0f', n_min, n_max)
width = 140 + 46 * last < 620 ? 620 : 140 + 46 * last
height = 470

do for [format in 'svg png'] {
    if (format eq 'svg') {
        set terminal svg size width, height font 'DejaVu Sans,12' background '#ffffff' noenhanced
    } else {
        set terminal pngcairo size 2 * width, 2 * height font 'DejaVu Sans,12' fontscale 1.65 linewidth 2 background '#ffffff' noenhanced
    }
    set output 'causes.'.format
    load 'style.gp'
    set title dataset.'    '.model.'    '.counts font ',13'
    set style fill solid 1.0 border lc rgb '#ffffff'
    set boxwidth 0.82
    set xrange [0.3 : last + 0.7]
    set yrange [0 : 1]
    set ytics nomirror 0.2 format '%.1f'
    set ylabel 'wrong answers, share of all, by cause'
    set xtics nomirror scale 0
    set lmargin at screen 74.0 / width; set rmargin at screen 1 - 14.0 / width
    set bmargin at screen 114.0 / height; set tmargin at screen 1 - 44.0 / height
    set key at screen 0.5, screen 26.0 / height center center horizontal Left reverse samplen 1.2 width 1.5 height 0 maxrows 1
    do for [i = 1:words(policies)] {
        middle = (word(froms, i) + word(tos, i)) / 2.0
        set label i word(policies, i) at first middle, screen 66.0 / height center font ',13'
    }
    plot for [j = 0:5] data using 'x':(total(6 - j)):xticlabels(stringcolumn('budget')) with boxes notitle lc rgb word(colours, 6 - j), \
        for [k in present] keyentry with boxes lc rgb word(colours, k + 0) title word(titles, k + 0)
    unset label
    unset output
}
